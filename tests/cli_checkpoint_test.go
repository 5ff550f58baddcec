package tests

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestCheckpoints has a container go on from a checkpoint, over a kill of the engine.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	criu, err := filepath.Abs("../.cache/criu")
	if err != nil {
		t.Fatal(err)
	}
	if !isFile(filepath.Join(criu, "criu")) {
		t.Fatal("run hack/criu first")
	}
	r := startRig(t, &rig{
		wrap: []string{"env", "PATH=" + criu + ":" + os.Getenv("PATH")}, args: []string{"--experimental", "--runtime", "runc"},
	})
	d := oneDocker(t, r)
	name := d.detached(t, "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
	count := func() int {
		t.Helper()
		out := strings.Fields(d.ok(t, "logs", "--tail", "1", name))
		if len(out) == 0 {
			return 0
		}
		n, err := strconv.Atoi(out[0])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	await(t, "it counts", func() bool { return count() >= 10 })
	d.ok(t, "checkpoint", "create", "--leave-running", name, "first")
	await(t, "the event of a checkpoint is there", func() bool { // --until is in whole seconds
		return d.ok(t, "events", "--since", "1h", "--until", "0s", "-f", "event=checkpoint", "--format", "{{.Actor.Attributes.name}}") == name
	})
	await(t, "it goes on", func() bool { return count() >= 20 })
	other := t.TempDir()
	d.ok(t, "checkpoint", "create", "--leave-running", "--checkpoint-dir", other, name, "elsewhere")
	before := count()
	d.ok(t, "checkpoint", "create", name, "last")
	await(t, "it ends", func() bool { return d.format(t, name, "{{.State.Status}}") == "exited" })
	r.kill(t, r.enginePid())
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if got := d.ok(t, "checkpoint", "ls", name); strings.Join(strings.Fields(got), " ") != "CHECKPOINT NAME first last" {
		t.Errorf("the list: %s", got)
	}
	d.ok(t, "start", "--checkpoint", "last", name)
	await(t, "it goes on from its last number", func() bool { return count() > before+5 })
	if lines := strings.Fields(d.ok(t, "logs", name)); lines[0] != "1" || strings.Count(strings.Join(lines, " ")+" ", " 1 ") > 0 {
		t.Errorf("it began again: %q", lines)
	}
	d.fails(t, 1, "already exists", "checkpoint", "create", name, "last")
	d.fails(t, 1, "invalid checkpoint ID", "checkpoint", "create", name, "a/b")
	d.ok(t, "kill", name)
	await(t, "it is over", func() bool { return d.format(t, name, "{{.State.Status}}") == "exited" })
	d.fails(t, 1, "is not running", "checkpoint", "create", name, "more")
	d.fails(t, 1, "checkpoint more does not exist", "start", "--checkpoint", "more", name)
	d.ok(t, "start", "--checkpoint", "elsewhere", "--checkpoint-dir", other, name)
	d.ok(t, "checkpoint", "rm", name, "first")
	d.fails(t, 1, "checkpoint first does not exist", "checkpoint", "rm", name, "first")
	d.ok(t, "rm", "-f", name)
}

// TestCheckpointsDisabled has the requests refused where the engine is not experimental, as in dockerd.
func TestCheckpointsDisabled(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	name := d.sleeper(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/checkpoints", 501}, {"POST", "/checkpoints", 501}, {"DELETE", "/checkpoints/x", 501},
		{"POST", "/start?checkpoint=xy", 400},
	} {
		got := d.call(c.method, "/containers/"+name+c.path, `{"CheckpointID": "xy"}`)
		if got.status != c.status || !strings.Contains(got.body, "experimental") {
			t.Errorf("%s %s: %+v", c.method, c.path, got)
		}
	}
}
