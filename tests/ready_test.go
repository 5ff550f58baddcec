package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readyWithin is much longer than an engine needs to be ready, and shorter than the 30 s
// that a hanging call may take.
const readyWithin = 20 * time.Second

// comesBack starts the engine again. The engine must answer although the runtime daemon
// hangs with one container.
func (r *rig) comesBack(t *testing.T) {
	t.Helper()
	begun := time.Now()
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > readyWithin {
		t.Errorf("ready after %v: it waited for the container that hangs\n%s", took, r.logs("engine.log"))
	}
}

// TestReadyBesideHungRuntime kills the engine while the OCI runtime hangs in the deletion
// of one container.
func TestReadyBesideHungRuntime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hang, hangs := filepath.Join(dir, "hang"), filepath.Join(dir, "hangs")
	runtime := filepath.Join(dir, "runc")
	script := fmt.Sprintf(`#!/bin/sh
for arg in "$@"; do
	[ "$arg" = delete ] && deletes=1
done
for id in "$@"; do :; done
if [ "$deletes" ] && [ "$(cat %s)" = "$id" ]; then
	echo >%s
	while [ -e %[1]s ]; do sleep 0.1; done
fi
exec runc "$@"
`, hang, hangs)
	if err := os.WriteFile(runtime, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r := startRig(t, &rig{args: []string{"--runtime", runtime}})
	d := oneDocker(t, r)
	sleeps, stuck := d.sleeper(t), d.ender(t)
	if err := os.WriteFile(hang, []byte(d.inspect(t, stuck.name).ID), 0o600); err != nil {
		t.Fatal(err)
	}
	stuck.end(t)
	await(t, "the runtime hangs", func() bool { return isFile(hangs) })
	r.kill(t, r.enginePid())
	if err := os.Remove(hangs); err != nil {
		t.Fatal(err)
	}
	r.comesBack(t)
	await(t, "the runtime hangs again", func() bool { return isFile(hangs) })
	if out := d.ok(t, "ps", "-a", "--format", "{{.Names}} {{.Status}}"); !strings.Contains(out,
		stuck.name+" Exited (7) ") || !strings.Contains(out, sleeps+" Up ") {
		t.Errorf("docker ps -a: %s", out)
	}
	d.works(t, sleeps, d.inspect(t, sleeps).State.Pid)
	if err := os.Remove(hang); err != nil {
		t.Fatal(err)
	}
	if r := d.run(t, "start", "-a", stuck.name); r.code != 7 { // it waits for the clean-up
		t.Errorf("docker start -a: %+v", r)
	}
	d.ok(t, "rm", stuck.name)
}

// TestReadyBesideHungShim kills the engine while containerd's shim for one container
// is stopped.
func TestReadyBesideHungShim(t *testing.T) {
	t.Parallel()
	onEach(t, newest(containerds(t)), func(t *testing.T, release containerdRelease) {
		c := startContainerd(t, release)
		t.Cleanup(func() { noEngineState(t) })
		r := startRig(t, &rig{args: []string{"--containerd", c.address}})
		d := oneDocker(t, r)
		sleeps, stuck := d.sleeper(t), d.ender(t)
		shim := parentOf(t, stuck.pid)
		r.kill(t, r.enginePid())
		if err := syscall.Kill(shim, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		goOn := func() { _ = syscall.Kill(shim, syscall.SIGCONT) } // it may have ended
		defer goOn()
		r.comesBack(t)
		d.works(t, sleeps, d.inspect(t, sleeps).State.Pid)
		if state := d.inspect(t, stuck.name).State; state.Status != "running" {
			t.Errorf("the container that hangs: %+v", state)
		}
		goOn()
		stuck.end(t)
		if code := stuck.ended(t, d); code != 7 {
			t.Errorf("exit code %d", code)
		}
	})
}

// parentOf is the parent of a process: proc_pid_stat(5).
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	parent, err := strconv.Atoi(strings.Fields(rest)[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}
