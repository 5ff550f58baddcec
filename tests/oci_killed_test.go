package tests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestOCIKilled kills the command line at each step of each of its commands. After that,
// "delete --force" leaves nothing, and the container's events are right.
func TestOCIKilled(t *testing.T) {
	r := sharedRig(t)
	program := r.file("bin/killable")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", program,
		"../cmd/engine-lite-oci").CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	t.Cleanup(func() { newOCI(t, r, "", nil).clean(t) })
	for _, rt := range ociRuntimes {
		t.Run(rt.name, func(t *testing.T) {
			t.Parallel()
			o := newOCI(t, r, rt.name, rt.wrap)
			for _, c := range []struct {
				command []string
				state   string // of the container before the command
			}{
				{[]string{"create", "--bundle", "BUNDLE", "--pid-file", "PID"}, "absent"},
				{[]string{"run", "--detach", "--bundle", "BUNDLE", "--pid-file", "PID"}, "absent"},
				{[]string{"start"}, "created"},
				{[]string{"pause"}, "running"},
				{[]string{"resume"}, "paused"},
				{[]string{"delete"}, "stopped"},
				{[]string{"delete", "--force"}, "running"},
			} {
				t.Run(strings.Join(c.command, " "), func(t *testing.T) {
					t.Parallel()
					way := ociSetups[slices.IndexFunc(ociSetups, func(w ociSetup) bool { return w.state == c.state })]
					step := 1
					for o.killedAt(t, program, step, c.command, o.inState(t, way.steps, way.state)) {
						step++
					}
					if step < 5 { // each command has at least five
						t.Errorf("it has %d steps", step)
					}
				})
			}
		})
	}
}

// killedAt kills a command at one step and deletes the container. It returns false if the
// command has fewer steps and succeeded.
func (o ociTool) killedAt(t *testing.T, program string, step int, command []string, id string) bool {
	t.Helper()
	args := append(slices.Clone(command), id)
	pidFile := filepath.Join(t.TempDir(), "pid")
	for i, arg := range args {
		switch arg {
		case "BUNDLE":
			args[i] = o.bundle(t, "exec sleep 1000")
		case "PID":
			args[i] = pidFile
		}
	}
	cmd, _, stderr := o.cmd(t, program, args...)
	cmd.Env = append(cmd.Env, fmt.Sprintf("ENGINE_LITE_OCI_TEST_KILL_AT=%d", step))
	err := cmd.Run()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL
	where := content(t, stderr)
	if !killed && err != nil {
		t.Fatalf("%q, step %d: %v: %s", args, step, err, where)
	}
	if pid := pidIn(pidFile); pid != 0 && pid != o.state(t, id).Pid { // the pid file is written last
		t.Errorf("%q, %s: pid file %d, state %+v", args, where, pid, o.state(t, id))
	}
	o.ok(t, "delete", "--force", id)
	if got := o.run(t, "state", id); got.code == 0 {
		t.Errorf("%q, %s: the container is there after delete --force: %s", args, where, got.stdout)
	}
	if got := o.legalEvents(t, id); len(got) == 0 && command[0] != "create" && command[0] != "run" {
		t.Errorf("%q, %s: no events", args, where)
	} else if strings.Contains(strings.Join(got, " "), "unknown") {
		t.Errorf("%q, %s: events %q", args, where, got)
	}
	return killed
}

// TestOCIEngineAway runs containers while no engine runs, and while the engine is killed
// again and again. Each exit must have one event.
func TestOCIEngineAway(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	o := newOCI(t, r, "runc", nil)

	running, ended, later := ociID(), ociID(), ociID()
	o.ok(t, "run", "--detach", "--bundle", o.bundle(t, "exec sleep 1000"), running)
	goFile := filepath.Join(o.rootfs, "tmp", "go")
	o.ok(t, "run", "--detach", "--bundle", o.bundle(t, "until [ -e /tmp/go ]; do sleep 0.01; done; exit 7"), ended)
	for _, id := range []string{running, ended} {
		r.awaitEvents(t, id, "create", "start")
	}
	r.kill(t, r.enginePid())
	<-r.wait()
	if err := os.WriteFile(goFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{ended, later} { // the same id a second time, too
		if id == later {
			o.ok(t, "run", "--detach", "--bundle", o.bundle(t, "exit 8"), id)
		}
		await(t, "it has ended", func() bool { return o.statusOrAbsent(t, id) == "stopped" })
		o.ok(t, "delete", id)
	}
	if got := o.run(t, "run", "--bundle", o.bundle(t, "exit 9"), later); got.code != 9 {
		t.Errorf("run: %+v", got)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	r.awaitEvents(t, ended, "create", "start", "die 7", "destroy")
	r.awaitEvents(t, later, "create", "start", "die 8", "destroy", "create", "start", "die 9", "destroy")
	r.awaitEvents(t, running, "create", "start")

	ids := make([]string, 24)
	var work sync.WaitGroup
	for i := range ids {
		ids[i] = ociID()
		bundle := o.bundle(t, fmt.Sprintf("sleep 0.%d; exit %d", i%10, i))
		work.Go(func() {
			if got := o.run(t, "run", "--bundle", bundle, ids[i]); got.code != i {
				t.Errorf("run %d: %+v", i, got)
			}
		})
	}
	for range 4 {
		r.kill(t, r.enginePid())
		<-r.wait()
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
	}
	work.Wait()
	for i, id := range ids {
		r.awaitEvents(t, id, "create", "start", fmt.Sprintf("die %d", i), "destroy")
	}
	o.ok(t, "delete", "--force", running)
	r.awaitEvents(t, running, "create", "start", "die 137", "destroy")
	o.clean(t)
}

// TestOCIKeeperAway ends a container while neither engine nor keeper runs. The exit code
// is unknown, and the event says so.
func TestOCIKeeperAway(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	o := newOCI(t, r, "runc", nil)
	id := ociID()
	o.ok(t, "run", "--detach", "--bundle", o.bundle(t, "until [ -e /tmp/go ]; do sleep 0.01; done; exit 7"), id)
	pid := o.state(t, id).Pid
	r.awaitEvents(t, id, "create", "start")
	r.kill(t, r.enginePid())
	<-r.wait()
	runtimed, keeper := r.runtimedPid(), r.keeperPid()
	r.kill(t, keeper)
	await(t, "runtimed has ended", func() bool { return !alive(runtimed) })
	if err := os.WriteFile(filepath.Join(o.rootfs, "tmp", "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the container's process is gone",
		func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); return err != nil })
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	r.awaitEvents(t, id, "create", "start", "die 255 unknown")
	o.ok(t, "delete", id)
	r.awaitEvents(t, id, "create", "start", "die 255 unknown", "destroy")
	o.clean(t)
}
