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
	umasks(t, d, true)
	mountsWork(t, d)
	runFlags(t, d)
	sharedMount(t, d)
	name := d.sleeper(t)
	if got := d.run(t, "exec", name, "sh", "-c", "echo in; exit 4"); got != (result{"in\n", "", 4}) {
		t.Errorf("exec: %+v", got)
	}
	d.ok(t, "pause", name)
	d.ok(t, "unpause", name)
	left := d.detached(t, "--pid", "container:"+name, "busybox", "sh", "-c", "sleep 7003 & exit 5")
	joins := d.detached(t, "--pid", "container:"+name, "busybox", "sleep", "1000")
	if code := d.ok(t, "wait", left); code != "5" {
		t.Errorf("exit code %s in another container's PID namespace", code)
	}
	if got := d.ok(t, "exec", name, "ps"); !strings.Contains(got, "sleep 1000") || strings.Contains(got, "sleep 7003") {
		t.Errorf("ps: %s", got)
	}
	d.ok(t, "kill", name)
	if code := d.ok(t, "wait", name, joins); code != "137\n137" {
		t.Errorf("exit codes %s after kill", code)
	}
}
