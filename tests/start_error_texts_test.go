package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// wrongCommands are commands that can't be started, and their exit codes. runc and runsc
// skip a file in PATH that can't be executed; crun does not.
var wrongCommands = map[string]struct {
	command, path string
	code, crun    int
}{
	"missing":                      {"/bin/missing", "/bin", 127, 127},
	"missing in PATH":              {"missing", "/bin", 127, 127},
	"below a file":                 {"/plain/x", "/bin", 127, 127},
	"directory":                    {"/bin", "/bin", 126, 126},
	"directory in PATH":            {"tmp", "/", 127, 126},
	"not executable":               {"/plain", "/bin", 126, 126},
	"not executable, in PATH":      {"plain", "/", 127, 126},
	`with the quote " in its name`: {`/bin/exec: "`, "/bin", 127, 127},
}

// wrongSpecs are containers that are refused for other reasons, with similar texts.
var wrongSpecs = map[string]func(*specs.Spec){
	"source of a mount": func(s *specs.Spec) {
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/x", Type: "bind", Source: "/missing/source", Options: []string{"bind"}})
	},
	"hook": func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/missing/hook"}}}
	},
	"root":              func(s *specs.Spec) { s.Root.Path = "/missing/rootfs" },
	"working directory": func(s *specs.Spec) { s.Process.Cwd = "/plain" },
	"device": func(s *specs.Spec) {
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/plain/x", Type: "c", Major: 1, Minor: 3}}
	},
}

// TestStartErrorTexts makes each OCI runtime and each containerd report failed starts:
// because of the command, and for other reasons. Only by the texts of these errors can the
// exit codes of Docker be told apart.
func TestStartErrorTexts(t *testing.T) {
	t.Parallel()
	rootfs := busyboxRootfs(t)
	if err := os.WriteFile(filepath.Join(rootfs, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	groups, programs := newGroups(t), buildRuntimed(t)
	runtimed := func(t *testing.T, name string, wrap ...string) *engine {
		return newEngine(t, startRuntimed(t, programs, name, wrap...).dial(t, "words"))
	}
	test := func(t *testing.T, e *engine, crun bool, options libcontainerd.CreateOptions, without ...string) {
		w := failingStarts{engine: e,
			spec: func() *specs.Spec { return groups.place(scriptSpec(rootfs, "exec sleep 1000")) }, options: options}
		w.checkCommands(crun)
		w.checkSpecs(without)
	}
	t.Run("runc", func(t *testing.T) { test(t, runtimed(t, "runc"), false, libcontainerd.CreateOptions{}) })
	t.Run("crun", func(t *testing.T) {
		test(t, runtimed(t, "crun", withoutUnified...), true, libcontainerd.CreateOptions{})
	})
	if long {
		t.Run("runsc", func(t *testing.T) {
			test(t, runtimed(t, builtRunsc(t)), false, libcontainerd.CreateOptions{RuntimeArgs: runscArgs},
				"source of a mount", "root") // runsc's delete would leave the control group
		})
	}
	onEach(t, newest(containerds(t)), func(t *testing.T, release containerdRelease) {
		namespace := fmt.Sprintf("words-%s-%d", release.version, os.Getpid())
		t.Cleanup(func() { noRuncState(t, namespace) })
		test(t, newEngine(t, startContainerd(t, release).dial(t, namespace)), false, libcontainerd.CreateOptions{})
	})
}

// failingStarts makes containers that can't be started.
type failingStarts struct {
	*engine
	spec    func() *specs.Spec
	options libcontainerd.CreateOptions
	created int
}

// start starts a container.
func (w *failingStarts) start(spec *specs.Spec) (*libcontainerd.Container, error) {
	w.Helper()
	w.created++
	ctr, err := w.client.Create(w.ctx, fmt.Sprintf("c%d", w.created), spec, w.options)
	w.must(err)
	_, err = ctr.Start(w.ctx, libcontainerd.StartOptions{})
	return ctr, err
}

func (w *failingStarts) checkCommands(crun bool) {
	w.Helper()
	running, err := w.start(w.spec())
	w.must(err)
	for name, c := range wrongCommands {
		want := c.code
		if crun {
			want = c.crun
		}
		spec := w.spec()
		spec.Process.Args, spec.Process.Env = []string{c.command}, []string{"PATH=" + c.path}
		_, err := w.start(spec)
		w.checkExitCode(name, err, want)
		_, err = running.Exec(w.ctx, fmt.Sprintf("e%d", w.created), spec.Process, libcontainerd.StdioConfig{})
		w.checkExitCode("exec: "+name, err, want)
	}
}

func (w *failingStarts) checkSpecs(without []string) {
	w.Helper()
	for name, change := range wrongSpecs {
		if slices.Contains(without, name) {
			continue
		}
		spec := w.spec()
		change(spec)
		_, err := w.start(spec)
		w.checkExitCode(name, err, libcontainerd.ExitNotStarted)
	}
}

func (w *failingStarts) checkExitCode(name string, err error, code int) {
	w.Helper()
	if start := (*libcontainerd.StartError)(nil); !errors.As(err, &start) || start.ExitCode != code {
		w.Errorf("%s: %d, want %d: %v", name, libcontainerd.StartExitCode(err), code, err)
	}
}
