package tests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRecovery kills engine and runtime daemon while one container sleeps and another one
// ends. Then it starts the engine again.
func TestRecovery(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	sleeps := d.sleeper(t)
	ends := d.detached(t, "busybox", "sh", "-c",
		"echo first words; until [ -e /go ]; do sleep 0.05; done; echo last words; exit 7")
	d.background(t, nil, "logs", "-f", ends).await(t, "first words\n")
	pid, since := d.inspect(t, ends).State.Pid, time.Now().Unix()
	sleeping := d.inspect(t, sleeps).State.Pid

	runtimed := r.runtimedPid()
	r.kill(t, r.enginePid())
	// runtimed must not be there when the container ends. The keeper starts the next one.
	r.kill(t, runtimed)
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/go", pid), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	await(t, "the container ends", func() bool { return !alive(pid) })
	if err := r.start(); err != nil {
		t.Fatal(err)
	}

	status := func() string {
		return d.ok(t, "ps", "-a", "--format", "{{.Names}} {{.Status}}")
	}
	await(t, "the exit is known", func() bool { return strings.Contains(status(), ends+" Exited (7) ") })
	if out := status(); !strings.Contains(out, sleeps+" Up ") || d.inspect(t, sleeps).State.Pid != sleeping ||
		!alive(sleeping) {
		t.Errorf("docker ps -a: %s", out)
	}
	if out := d.ok(t, "logs", ends); out != "first words\nlast words" {
		t.Errorf("docker logs: %q", out)
	}
	out := d.ok(t, "events", "--since", fmt.Sprint(since), "--until", fmt.Sprint(time.Now().Unix()+1), "--filter",
		"event=die",
		"--format", "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}} {{.Actor.Attributes.recovered}}")
	if out != ends+" 7 true" {
		t.Errorf("die events: %q", out)
	}
	// A restored container is like any other.
	if r := d.run(t, "exec", sleeps, "sh", "-c", "echo in; exit 3"); r != (result{"in\n", "", 3}) {
		t.Errorf("docker exec: %+v", r)
	}
	d.ok(t, "kill", sleeps)
	if out := d.ok(t, "wait", sleeps); out != "137" {
		t.Errorf("docker wait: %s", out)
	}
	if r := d.run(t, "start", "-a", ends); r.code != 7 { // its file is still there
		t.Errorf("docker start -a: %+v", r)
	}
}

// TestCtr lists the tasks of the runtime daemon with containerd's own client.
func TestCtr(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	c := d.inspect(t, d.sleeper(t))
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ctr", "-a", filepath.Join(d.runDir(), "runtimed.sock"), "-n", "engine-lite",
		"task", "ls").CombinedOutput()
	if err != nil || !hasLine(string(out), c.ID, fmt.Sprint(c.State.Pid), "RUNNING") {
		t.Errorf("ctr task ls: %v\n%s", err, out)
	}
}

// hasLine is true if a line consists of these words.
func hasLine(text string, words ...string) bool {
	for line := range strings.Lines(text) {
		if strings.Join(strings.Fields(line), " ") == strings.Join(words, " ") {
			return true
		}
	}
	return false
}
