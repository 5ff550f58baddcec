package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ender is a container that prints a last line and ends with 7 when it is asked to.
type ender struct {
	name string
	pid  int
}

func (d docker) ender(t testing.TB) ender {
	t.Helper()
	name := d.detached(t, "busybox", "sh", "-c",
		"echo first words; until [ -e /go ]; do sleep 0.05; done; echo last words; exit 7")
	d.background(t, nil, "logs", "-f", name).await(t, "first words\n")
	return ender{name, d.inspect(t, name).State.Pid}
}

// end ends the container, and waits until it has ended.
func (e ender) end(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/go", e.pid), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	await(t, "the container ends", func() bool { return !alive(e.pid) })
}

// ended waits until the engine knows the exit, and returns the exit code: the true one, or
// 255 with the reason why it is unknown.
func (e ender) ended(t testing.TB, d docker) int {
	t.Helper()
	await(t, "the exit is known", func() bool { return d.inspect(t, e.name).State.Status == "exited" })
	state := d.inspect(t, e.name).State
	if state.ExitCode != 7 && (state.ExitCode != 255 || state.Error == "") {
		t.Errorf("%s: %+v", e.name, state)
	}
	if out := d.ok(t, "logs", e.name); out != "first words\nlast words" {
		t.Errorf("docker logs: %q", out)
	}
	return state.ExitCode
}

// works checks the usual operations on a container that runs.
func (d docker) works(t testing.TB, name string, pid int) {
	t.Helper()
	if c := d.inspect(t, name); !c.State.Running || c.State.Pid != pid || !alive(pid) {
		t.Errorf("%s: %+v, want process %d", name, c.State, pid)
	}
	if r := d.run(t, "exec", name, "sh", "-c", "echo in; exit 3"); r != (result{"in\n", "", 3}) {
		t.Errorf("docker exec: %+v", r)
	}
	if r := d.run(t, alone("busybox", "sh", "-c", "echo new; exit 4")...); r != (result{"new\n", "", 4}) {
		t.Errorf("docker run: %+v", r)
	}
}

// TestContainerdKilled kills the engine, then containerd, then both, while one container
// sleeps and another one ends.
func TestContainerdKilled(t *testing.T) {
	t.Parallel()
	eachContainerd(t, func(t *testing.T, release containerdRelease) {
		c := startContainerd(t, release)
		t.Cleanup(func() { noEngineState(t) })
		r := startRig(t, &rig{args: []string{"--containerd", c.address}})
		d := oneDocker(t, r)
		sleeps := d.sleeper(t)
		pid := d.inspect(t, sleeps).State.Pid

		e := d.ender(t)
		r.kill(t, r.enginePid())
		e.end(t)
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		if code := e.ended(t, d); code != 7 {
			t.Errorf("containerd knows the exit, the engine says %d", code)
		}
		d.works(t, sleeps, pid)

		e = d.ender(t)
		exec := d.background(t, nil, "exec", sleeps, "sh", "-c",
			"echo in; until [ -e /done ]; do sleep 0.05; done; echo out; exit 5")
		exec.await(t, "in\n")
		c.kill(t)
		e.end(t)
		c.start(t)
		if code := e.ended(t, d); code != 7 && release.version == "1.6" {
			t.Errorf("containerd knows the exit, the engine says %d", code)
		}
		d.works(t, sleeps, pid)
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/done", pid), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if r := exec.wait(t); r != (result{"in\nout\n", "", 5}) {
			t.Errorf("the exec that ran all the time: %+v", r)
		}

		e = d.ender(t)
		r.kill(t, r.enginePid())
		c.kill(t)
		e.end(t)
		c.start(t)
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		e.ended(t, d)
		d.works(t, sleeps, pid)
		d.ok(t, "kill", sleeps)
		if out := d.ok(t, "wait", sleeps); out != "137" {
			t.Errorf("docker wait: %s", out)
		}
	})
}

// TestContainerdSupervised runs an engine that starts containerd itself. It kills and
// stops both.
func TestContainerdSupervised(t *testing.T) {
	t.Parallel()
	eachContainerd(t, func(t *testing.T, release containerdRelease) {
		t.Cleanup(func() { noEngineState(t) })
		r := startRig(t, &rig{args: []string{"--containerd-binary", release.binary}})
		dir := filepath.Join(r.runDir(), "containerd")
		d := oneDocker(t, r)
		sleeps := d.sleeper(t)
		pid, daemon := d.inspect(t, sleeps).State.Pid, daemonOf(dir)

		e := d.ender(t)
		r.kill(t, r.enginePid())
		e.end(t)
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		if code := e.ended(t, d); code != 7 || daemonOf(dir) != daemon {
			t.Errorf("exit code %d, containerd is process %d after %d", code, daemonOf(dir), daemon)
		}
		d.works(t, sleeps, pid)

		e = d.ender(t)
		r.kill(t, daemon)
		e.end(t)
		e.ended(t, d)
		d.works(t, sleeps, pid)

		// An engine that is stopped leaves a containerd with containers running.
		daemon = daemonOf(dir)
		if err := terminate("engine", r.enginePid(), func() bool { return !alive(r.enginePid()) }); err != nil {
			t.Fatal(err)
		}
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		if daemonOf(dir) != daemon {
			t.Errorf("containerd is process %d after %d", daemonOf(dir), daemon)
		}
		d.works(t, sleeps, pid)
		if log := r.logs("engine.log"); !strings.Contains(log, "from=containerd") {
			t.Error("the engine's log lacks containerd's")
		}
	})
}
