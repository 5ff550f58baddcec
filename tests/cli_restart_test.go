package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestRestartPolicies checks restart policies, also over a kill of the engine.
func TestRestartPolicies(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	since := time.Now().Unix()
	run := func(name string, args ...string) {
		d.ok(t, append([]string{"run", "-d", "--network", "none", "--name", name}, args...)...)
	}
	run("fails", "--restart", "on-failure:3", "busybox", "sh", "-c", "echo run; exit 7")
	run("running", "--restart", "always", "busybox", "sleep", "1000")
	run("stopped", "--restart", "unless-stopped", "busybox", "sleep", "1000")
	d.ok(t, "stop", "-t", "0", "stopped")
	first := d.inspect(t, "running").State.Pid
	runtimed := r.runtimedPid()
	r.kill(t, r.enginePid())
	r.kill(t, runtimed)
	r.kill(t, first)
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if out := d.ok(t, "wait", "fails"); out != "7" { // for one of the exits
		t.Errorf("docker wait: %s", out)
	}
	await(t, "the last exit", func() bool { return d.inspect(t, "fails").State.Status == "exited" })
	if c := d.inspect(t, "fails"); c.RestartCount != 3 || c.State.Status != "exited" {
		t.Errorf("%d restarts, %+v", c.RestartCount, c.State)
	}
	if out := d.ok(t, "logs", "fails"); out != "run\nrun\nrun\nrun" {
		t.Errorf("docker logs: %q", out)
	}
	out := d.ok(t, "events", "--since", fmt.Sprint(since), "--until", fmt.Sprint(time.Now().Unix()+1), "--filter",
		"container=fails", "--format", "{{.Action}}")
	if want := "create" + strings.Repeat("\nstart\ndie", 4); out != want {
		t.Errorf("docker events: %q", out)
	}
	await(t, "the killed one runs again", func() bool {
		c := d.inspect(t, "running")
		return c.State.Running && c.State.Pid != first && c.State.Pid != 0
	})
	if c := d.inspect(t, "stopped"); c.State.Status != "exited" {
		t.Errorf("%+v", c.State)
	}
}
