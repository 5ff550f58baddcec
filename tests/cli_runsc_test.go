package tests

import (
	"strings"
	"testing"
)

// TestRuntimeOfRun uses gVisor for one container of an engine with another default
// runtime.
func TestRuntimeOfRun(t *testing.T) {
	t.Parallel()
	args := []string{"--add-runtime", "runsc=" + builtRunsc(t)}
	for _, arg := range runscArgs {
		args = append(args, "--runtime-arg", "runsc="+arg)
	}
	d := oneDocker(t, startRig(t, &rig{args: args}))
	inGVisor := alone("--runtime", "runsc")
	if got := d.run(t, append(inGVisor, "busybox", "sh", "-c",
		"busybox dmesg | busybox grep -c gVisor; exit 3")...); got.code != 3 || got.stdout == "0\n" ||
		got.stdout == "" {
		t.Errorf("run on gVisor: %+v", got)
	}
	d.fails(t, 125, "unknown or invalid runtime name", alone("--runtime", "other", "busybox", "true")...)
	name := d.sleeper(t, "--runtime", "runsc")
	if got := d.run(t, "exec", name, "sh", "-c", "echo in; exit 4"); got != (result{"in\n", "", 4}) {
		t.Errorf("exec: %+v", got)
	}
	if top := d.ok(t, "top", name); !strings.Contains(top, "runsc-sandbox") {
		t.Errorf("top: %s", top)
	}
	d.ok(t, "pause", name)
	d.ok(t, "unpause", name)
	d.ok(t, "kill", name)
	if code := d.ok(t, "wait", name); code != "137" {
		t.Errorf("exit code %s after kill", code)
	}
	if runtimes := d.ok(t, "info", "--format",
		"{{range $name, $r := .Runtimes}}{{$name}} {{end}}"); !strings.Contains(runtimes, "runsc") {
		t.Errorf("runtimes %q", runtimes)
	}
}
