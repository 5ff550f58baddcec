package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// keeperDies kills the keeper, waits until engine and runtimed have ended because of that,
// calls between, and starts the next engine.
func (r *rig) keeperDies(t *testing.T, between func()) {
	t.Helper()
	keeper, runtimed := r.keeperPid(), r.runtimedPid()
	r.kill(t, keeper)
	select {
	case <-r.wait():
	case <-time.After(waitLimit):
		t.Fatal("the engine outlives its keeper")
	}
	await(t, "runtimed ends", func() bool { return !alive(runtimed) })
	if log := r.logs("engine.log"); !strings.Contains(log,
		"the keeper is gone: restart engine-lite, containers run on") {
		t.Errorf("the engine doesn't say why it ended:\n%s", log)
	}
	between()
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	await(t, "another keeper runs", func() bool { return r.keeperPid() != keeper && r.runtimedPid() != 0 })
}

// TestKeeperKilledUnderEngine kills the keeper of an engine. The containers run on. The
// next keeper holds their FIFOs again, new output comes, and exit codes are true if the
// kernel keeps them.
func TestKeeperKilledUnderEngine(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	talks := r.runScript(t, "echo before; "+untilGo+"echo after; exec sleep 1000", nil)
	ends := r.runScript(t, untilGo+"echo last; exit 7", nil)
	silent := r.runScript(t, "exec sleep 1000", nil)
	execs := r.runScript(t, "exec sleep 1000", nil)
	execs.exec = r.addExec(t, execs.id, "until [ -e /go ]; do sleep 0.1; done; exit 5")
	await(t, "the first output is logged", func() bool { return d.ok(t, "logs", talks.id) == "before" })

	r.keeperDies(t, func() {
		for _, m := range []*testContainer{talks, ends, silent, execs} {
			if !alive(m.pid) {
				t.Fatalf("container %s died with the keeper", m.id)
			}
		}
		if err := syscall.Kill(silent.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "a container ends while no engine and no keeper runs", func() bool { return isGone(silent.pid) })
	})

	var end struct{ StatusCode int }
	r.do(t, http.MethodPost, "/containers/"+silent.id+"/wait", nil, &end)
	if end.StatusCode != 255 {
		t.Errorf("exit code %d of a container that ended without a keeper", end.StatusCode)
	}
	if out := d.dies(t, silent.id); out != "255 the process ended while no keeper was its parent\n" {
		t.Errorf("die: %q", out)
	}
	for _, m := range []*testContainer{talks, ends, execs} {
		m.signalGo(t)
	}
	await(t, "new output is logged", func() bool { return d.ok(t, "logs", talks.id) == "before\nafter" })
	r.do(t, http.MethodPost, "/containers/"+ends.id+"/wait", nil, &end)
	if want := codeOfOrphan(t, 7); end.StatusCode != want {
		t.Errorf("exit code %d, want %d", end.StatusCode, want)
	}
	if out := d.ok(t, "logs", ends.id); out != "last" {
		t.Errorf("the log has %q", out)
	}
	execs.exec.code = codeOfOrphan(t, 5)
	r.execEnds(t, execs.exec)
	r.usable(t, d, talks)
}

// dies are the exit codes and reasons of a container's die events.
func (d docker) dies(t *testing.T, id string) (lines string) {
	t.Helper()
	out := d.ok(t, "events", "--since", "1", "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "event=die",
		"--filter", "container="+id, "--format", "{{json .Actor.Attributes}}")
	for line := range strings.Lines(out) {
		var a struct{ ExitCode, ExitUnknown string }
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		lines += a.ExitCode + " " + a.ExitUnknown + "\n"
	}
	return lines
}

// usable checks that a restored container is like any other, also with the new keeper: the
// engine may be killed.
func (r *rig) usable(t *testing.T, d docker, m *testContainer) {
	t.Helper()
	if out := d.run(t, "exec", m.id, "sh", "-c", "echo in; exit 3"); out != (result{"in\n", "", 3}) {
		t.Errorf("docker exec: %+v", out)
	}
	r.kill(t, r.enginePid())
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if s := r.state(t, m.id).State; !s.Running || s.Pid != m.pid {
		t.Errorf("container %+v", s)
	}
	d.ok(t, "stop", "-t", "0", m.id)
	if s := r.state(t, m.id).State; s.Running || s.ExitCode != codeOfOrphan(t, 137) {
		t.Errorf("stopped: %+v", s)
	}
	d.ok(t, "start", m.id)
	if s := r.state(t, m.id).State; !s.Running {
		t.Errorf("started again: %+v", s)
	}
	d.ok(t, "rm", "-f", m.id)
}
