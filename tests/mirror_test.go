package tests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMirror runs the example of a consumer. It must be right after engine and runtimed
// were killed while containers were started, paused, ended and removed.
func TestMirror(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	early := d.sleeper(t)
	program := filepath.Join(t.TempDir(), "mirror")
	if out, err := exec.Command("go", "build", "-race", "-o", program,
		"../examples/mirror").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &running{what: "mirror", cmd: exec.CommandContext(ctx, program, "--socket", r.socket()),
		ended: make(chan struct{})}
	m.cmd.Stdout, m.cmd.Stderr = &m.stdout, &m.stderr
	m.start(t, cancel)
	m.await(t, "running "+early+"\n")

	want := map[string]string{early: "running"}
	for round := range 2 {
		ends, paused, removed := fmt.Sprintf("ends-%d", round), fmt.Sprintf("paused-%d", round),
			fmt.Sprintf("removed-%d", round)
		for _, name := range []string{ends, paused, removed} {
			d.ok(t, "run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000")
		}
		d.ok(t, "pause", paused)
		pid := d.inspect(t, ends).State.Pid
		runtimed := r.runtimedPid()
		r.kill(t, r.enginePid())
		if round == 1 {
			r.kill(t, runtimed)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		d.ok(t, "rm", "-f", removed)
		want[ends], want[paused], want[removed] = "exited", "paused", "removed"
	}
	for name, status := range want {
		await(t, fmt.Sprintf("%s is %s", name, status),
			func() bool { return lastLine(m.stdout.String(), name) == status })
		if status != "removed" && d.inspect(t, name).State.Status != status {
			t.Errorf("%s is not %s", name, status)
		}
	}
	if err := m.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-m.ended
	if code := m.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("mirror ended with %d: %s", code, m.stderr.String())
	}
}

// lastLine returns the status in the last line about a container.
func lastLine(out, name string) string {
	status := ""
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[2] == name {
			status = fields[1]
		}
	}
	return status
}
