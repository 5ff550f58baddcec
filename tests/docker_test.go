package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// docker is a docker CLI that is connected to an engine.
type docker struct {
	*rig
	path, version string
}

// commandTimeout bounds a command that should end by itself.
const commandTimeout = 90 * time.Second

// dockers finds the CLIs: the paths in ENGINE_LITE_DOCKER, separated by colons. By default
// these are the one of the distribution that hack/setup unpacks, which each machine has, and
// the one in PATH.
func dockers(t testing.TB) []docker {
	t.Helper()
	paths := filepath.SplitList(os.Getenv("ENGINE_LITE_DOCKER"))
	if len(paths) == 0 {
		if path, err := filepath.Abs("../.cache/docker-debian/docker"); err == nil && isFile(path) {
			paths = append(paths, path)
		}
		if path, err := exec.LookPath("docker"); err == nil {
			paths = append(paths, path)
		}
	}
	var found []docker
	for _, path := range paths {
		out, err := exec.CommandContext(t.Context(), path, "--version").Output()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		version, _, _ := strings.Cut(strings.TrimPrefix(string(out), "Docker version "), ",")
		if !slices.ContainsFunc(found, func(d docker) bool { return d.version == version }) {
			found = append(found, docker{path: path, version: version})
		}
	}
	if len(found) == 0 {
		t.Fatal("these tests need a docker CLI: hack/setup unpacks one, and ENGINE_LITE_DOCKER may list others")
	}
	return found
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// eachDocker runs a test with each CLI, on the shared engine.
func eachDocker(t *testing.T, test func(t *testing.T, d docker)) {
	t.Parallel()
	r := sharedRig(t)
	for _, d := range dockers(t) {
		d.rig = r
		t.Run(d.version, func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}

// oneDocker is the first CLI, for tests that depend only on the engine.
func oneDocker(t *testing.T, r *rig) docker {
	t.Helper()
	d := dockers(t)[0]
	d.rig = r
	return d
}

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// command prepares a command, which is killed when the test ends or takes too long.
func (d docker) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.path, args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.file("tmp"), "TMPDIR=" + d.file("docker"), "DOCKER_HOST=" + d.host(),
		"DOCKER_CONFIG=" + d.file("docker"), "DOCKER_CLI_HINTS=false", "TERM=xterm", "LANG=C",
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run runs a command to its end. Any exit code is accepted.
func (d docker) run(t testing.TB, args ...string) result {
	t.Helper()
	return d.feed(t, nil, args...)
}

// feed runs a command with stdin.
func (d docker) feed(t testing.TB, in io.Reader, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := d.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("docker %q: %v\n%s", args, err, &stderr)
	}
	if ctx.Err() != nil {
		t.Fatalf("docker %q does not end\nstdout: %s\nstderr: %s", args, &stdout, &stderr)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ok runs a command that must succeed, and returns its output.
func (d docker) ok(t testing.TB, args ...string) string {
	t.Helper()
	r := d.run(t, args...)
	if r.code != 0 {
		t.Fatalf("docker %q: exit code %d\nstdout: %s\nstderr: %s", args, r.code, r.stdout, r.stderr)
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// fails runs a command that must fail with this exit code and this text.
func (d docker) fails(t testing.TB, code int, why string, args ...string) {
	t.Helper()
	r := d.run(t, args...)
	if r.code != code || !strings.Contains(r.stderr, why) {
		t.Errorf("docker %q: exit code %d, want %d and %q\nstdout: %s\nstderr: %s", args, r.code, code, why, r.stdout,
			r.stderr)
	}
}

var names atomic.Int64

// name returns an unused name for a container. The container is removed at the end of the
// test if it exists.
func (d docker) name(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d", names.Add(1))
	t.Cleanup(func() {
		if err := d.remove(name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// detached runs a container without network in the background and returns its
// name.
func (d docker) detached(t testing.TB, args ...string) string {
	t.Helper()
	name := d.name(t)
	d.ok(t, slices.Concat([]string{"run", "-d", "--network", "none", "--name", name}, args)...)
	return name
}

// format is docker inspect with a template.
func (d docker) format(t testing.TB, id, template string) string {
	t.Helper()
	return d.ok(t, "inspect", "--format", template, id)
}

// inspect returns a part of the output of docker inspect.
func (d docker) inspect(t testing.TB, id string) (c containerJSON) {
	t.Helper()
	if err := json.Unmarshal([]byte(d.format(t, id, "{{json .}}")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

type containerJSON struct {
	RestartCount          int
	ID, Name, Path, Image string
	Args                  []string
	State                 struct {
		Status, Error               string
		Running, Paused, Restarting bool
		OOMKilled, Dead             bool
		Pid, ExitCode               int
		StartedAt, FinishedAt       time.Time
	}
	Config struct {
		User, WorkingDir, Hostname, Image string
		Tty, OpenStdin                    bool
		Env, Cmd, Entrypoint              []string
		Labels                            map[string]string
	}
	HostConfig struct{ NetworkMode string }
}

// running is a command in the background.
type running struct {
	what           string
	cmd            *exec.Cmd
	stdout, stderr buffer
	ended          chan struct{}
}

// background starts a command. The command ends by itself or with the test.
func (d docker) background(t testing.TB, stdin io.Reader, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := &running{what: fmt.Sprintf("docker %q", args), cmd: d.command(ctx, args...), ended: make(chan struct{})}
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr = stdin, &b.stdout, &b.stderr
	b.start(t, cancel)
	return b
}

func (b *running) start(t testing.TB, cancel context.CancelFunc) {
	t.Helper()
	if err := b.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() { // ends with the command, which the test ends at the latest
		_ = b.cmd.Wait() // the exit code is in ProcessState
		close(b.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-b.ended
	})
}

// await waits until the command has printed a text on stdout.
func (b *running) await(t testing.TB, text string) {
	t.Helper()
	if !holds(func() bool { return strings.Contains(b.stdout.String(), text) }) {
		t.Fatalf("%s does not print %q\nstdout: %s\nstderr: %s", b.what, text, b.stdout.String(), b.stderr.String())
	}
}

// wait waits for the end of the command.
func (b *running) wait(t testing.TB) result {
	t.Helper()
	select {
	case <-b.ended:
	case <-time.After(commandTimeout):
		t.Fatalf("%s does not end\nstdout: %s\nstderr: %s", b.what, b.stdout.String(), b.stderr.String())
	}
	return result{b.stdout.String(), b.stderr.String(), b.cmd.ProcessState.ExitCode()}
}
