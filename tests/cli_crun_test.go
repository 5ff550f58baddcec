package tests

import (
	"strings"
	"testing"
)

// TestCrun runs the engine on a machine where crun works. The engine then uses crun
// without being told to.
func TestCrun(t *testing.T) {
	t.Parallel()
	r := ownRig(t, withoutUnified...)
	d := oneDocker(t, r)
	if log := r.logs("run/runtimed.log"); !strings.Contains(log, "crun runs on this host") {
		t.Fatalf("runtimed took another runtime:\n%s", log)
	}
	if got := d.run(t, alone("busybox", "sh", "-c", "echo out; echo err >&2; exit 3")...); got != (result{"out\n",
		"err\n", 3}) {
		t.Errorf("run: %+v", got)
	}
	if got := d.feed(t, strings.NewReader("in\n"), alone("-i", "busybox", "cat")...); got != (result{"in\n", "", 0}) {
		t.Errorf("run -i: %+v", got)
	}
	d.fails(t, 127, "executable file not found", alone("busybox", "nosuch")...)
	d.fails(t, 126, "permission denied", alone("busybox", "/etc")...)
	name := d.sleeper(t)
	if got := d.run(t, "exec", name, "sh", "-c", "echo in; exit 4"); got != (result{"in\n", "", 4}) {
		t.Errorf("exec: %+v", got)
	}
	d.ok(t, "pause", name)
	d.ok(t, "unpause", name)
	d.ok(t, "kill", name)
	if code := d.ok(t, "wait", name); code != "137" {
		t.Errorf("exit code %s after kill", code)
	}
}
