package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
)

// kataType is the type of kata's runtime. The tests have no shim for it.
const kataType = "io.containerd.kata.v2"

// kataShim is a shim that records its calls in $ENGINE_LITE_SHIM/ACTION. It ends where
// kata's shim would start a virtual machine.
const kataShim = `#!/bin/sh
for action; do :; done
into=$ENGINE_LITE_SHIM/$action
mkdir -p "$into"
printf '%s\n' "$@" >"$into/args"
env >"$into/env"
pwd >"$into/cwd"
cat >"$into/stdin"
if [ "$action" = start ]; then
	cp config.json "$into/config.json"
	echo "no virtual machine on this host" >&2
	exit 1
fi
`

// TestKata uses kata's runtime: without its shim, and with a fake shim.
func TestKata(t *testing.T) {
	t.Parallel()
	eachContainerd(t, func(t *testing.T, release containerdRelease) {
		dir := t.TempDir()
		record, bin := filepath.Join(dir, "record"), filepath.Join(dir, "bin")
		c := startContainerd(t, release, "ENGINE_LITE_SHIM="+record,
			"PATH="+bin+":"+filepath.Dir(release.binary)+":"+os.Getenv("PATH"))
		t.Cleanup(func() { noEngineState(t) })
		r := startRig(t, &rig{args: []string{"--containerd", c.address}})
		d := oneDocker(t, r)

		none := d.kata(t)
		d.fails(t, 1, "containerd-shim-kata-v2", "start", none)
		d.neverRan(t, c, none, "containerd-shim-kata-v2")

		if err := os.Mkdir(bin, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "containerd-shim-kata-v2"), []byte(kataShim), 0o700); err != nil {
			t.Fatal(err)
		}
		container := d.kata(t)
		id := d.inspect(t, container).ID
		d.fails(t, 1, "no virtual machine on this host", "start", container)
		d.neverRan(t, c, container, "no virtual machine on this host")
		c.calledKata(t, record, id)
		c.passesOptions(t, record)
		// The engine's own runtime, by its names.
		for _, runtime := range []string{"runc", "io.containerd.runc.v2"} {
			if r := d.run(t, alone("--runtime", runtime, "busybox", "echo", runtime)...); r != (result{runtime + "\n",
				"", 0}) {
				t.Errorf("docker run --runtime %s: %+v", runtime, r)
			}
		}
	})
}

// kata creates a container for kata's runtime, with annotations of kata's and those
// that make it a sandbox.
func (d docker) kata(t *testing.T) string {
	t.Helper()
	name := d.name(t)
	a := d.call("POST", "/containers/create?name="+name, `{"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"none",
		"Runtime":"`+kataType+`","Annotations":{"io.katacontainers.config.hypervisor.default_vcpus":"2","io.kubernetes.cri.container-type":"sandbox"}}}`)
	if a.err != nil || a.status != 201 {
		t.Fatalf("%+v", a)
	}
	return name
}

// neverRan checks that a container shows why it did not start, and that nothing of it is
// left at containerd.
func (d docker) neverRan(t *testing.T, c *privateContainerd, name, why string) {
	t.Helper()
	if s := d.inspect(t, name).State; s.Running || s.ExitCode != 128 || !strings.Contains(s.Error, why) {
		t.Errorf("%+v", s)
	}
	if left := namesIn(c.bundles()); len(left) > 0 {
		t.Errorf("bundles are left: %q", left)
	}
	if left := shimsOf(c.address); len(left) > 0 {
		t.Errorf("shims are left: %q", left)
	}
	d.ok(t, "rm", name)
}

// bundles is the directory in which containerd keeps the bundles of the engine's
// containers.
func (c *privateContainerd) bundles() string {
	return filepath.Join(c.dir, "state", "io.containerd.runtime.v2.task", "engine-lite")
}

// passesOptions passes kata the path of its configuration, in the type that kata's
// documentation names. An engine that embeds the client layer can do the same.
func (c *privateContainerd) passesOptions(t *testing.T, record string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	d := c.dial(t, fmt.Sprintf("kata-%s-%d", c.release.version, os.Getpid()))
	opts := &runtimeoptions.Options{TypeUrl: "io.containerd.kata.v2.options",
		ConfigPath: "/etc/kata-containers/small.toml"}
	encoded, err := remote.EncodeOptions(opts)
	if err != nil {
		t.Fatal(err)
	}
	err = d.CreateContainer(ctx,
		libcontainerd.Record{ID: "options", Spec: scriptSpec("/rootfs", "true"), Runtime: kataType,
			RuntimeOptions: encoded})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.CreateTask(ctx, "options", libcontainerd.TaskConfig{Runtime: kataType, RuntimeOptions: encoded})
	if err == nil || !strings.Contains(err.Error(), "no virtual machine on this host") {
		t.Error(err)
	}
	if err := d.DeleteContainer(ctx, "options"); err != nil {
		t.Error(err)
	}
	in, err := os.ReadFile(filepath.Join(record, "start", "stdin"))
	if err != nil || !strings.Contains(string(in), "runtimeoptions.v1.Options") ||
		!strings.Contains(string(in), opts.ConfigPath) {
		t.Errorf("the shim's stdin: %q, %v", in, err)
	}
}

// calledKata checks how the shim was called: as containerd's runtime v2 specifies, and
// with the options given to the engine.
func (c *privateContainerd) calledKata(t *testing.T, record, id string) {
	t.Helper()
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(record, "start", name))
		if err != nil {
			t.Error(err)
		}
		return string(data)
	}
	args := strings.Fields(read("args"))
	for flag, want := range map[string]string{"-namespace": "engine-lite", "-id": id, "-address": c.address} {
		if i := slices.Index(args, flag); i < 0 || i+1 >= len(args) || args[i+1] != want {
			t.Errorf("the shim's arguments %q lack %s %s", args, flag, want)
		}
	}
	if bundle := strings.TrimSpace(read("cwd")); bundle != filepath.Join(c.bundles(), id) {
		t.Errorf("the shim was started in %s", bundle)
	}
	if env := read("env"); !strings.Contains(env, "TTRPC_ADDRESS="+c.address+".ttrpc\n") {
		t.Errorf("the shim's environment:\n%s", env)
	}
	// 2.x repeats the arguments here, as a message with the options in it.
	if in := read("stdin"); strings.Contains(in, "Options") || c.release.version == "1.6" && in != "" {
		t.Errorf("options that were not given: %q", in)
	}
	var spec specs.Spec
	if err := json.Unmarshal([]byte(read("config.json")), &spec); err != nil {
		t.Error(err)
	}
	for key, want := range map[string]string{
		"io.katacontainers.config.hypervisor.default_vcpus": "2", "io.kubernetes.cri.container-type": "sandbox",
	} {
		if spec.Annotations[key] != want {
			t.Errorf("annotation %s is %q in %v", key, spec.Annotations[key], spec.Annotations)
		}
	}
	// The shim answered that it is not there, so there are no further calls.
	if called := namesIn(record); !slices.Equal(called, []string{"start"}) {
		t.Errorf("the shim was called for %q", called)
	}
}
