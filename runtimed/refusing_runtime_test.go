package runtimed_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refusing makes a container whose OCI runtime fails a number of times with one command
// before it succeeds. It returns a function that counts the calls of the command.
func (d *daemon) refusingRuntime(id, command string, failures int, before string,
	changes ...func(*specs.Spec)) (calls func() int) {
	d.t.Helper()
	spec := d.spec(id, "exec sleep 1000")
	for _, change := range changes {
		change(spec)
	}
	d.record(id, spec)
	log := filepath.Join(d.dir, "calls."+id)
	script := fmt.Sprintf("echo >>%s; %s; [ $(wc -l <%s) -gt %d ] || exit 1", log, before, log, failures)
	check(d.t, d.createWith(d.fakeRuntime("refusing-"+id, command, script), id))
	d.start(id, "")
	return func() int {
		text, err := os.ReadFile(log)
		check(d.t, err)
		return len(text)
	}
}

func hostPid(spec *specs.Spec) { spec.Linux.Namespaces = spec.Linux.Namespaces[1:] }

// freezeNow is a script that freezes a container's control group.
func (d *daemon) freezeNow(id string) string {
	if _, err := os.Stat("/sys/fs/cgroup/freezer"); err == nil {
		return "echo FROZEN >/sys/fs/cgroup/freezer/" + groupsName + "/" + filepath.Base(d.dir) + id + "/freezer.state"
	}
	return "echo 1 >/sys/fs/cgroup/" + groupsName + "/" + filepath.Base(d.dir) + id + "/cgroup.freeze"
}

// A command that an OCI runtime refuses twice is tried until it succeeds.
func TestRefusedForAMoment(t *testing.T) {
	d := startDaemon(t, "runc")
	const refusals = 2
	limit := int64(64 << 20)
	for name, c := range map[string]struct {
		command string
		changes []func(*specs.Spec)
		call    func() error
	}{
		"pause": {"pause", nil, func() error {
			_, err := d.tasks.Pause(d.ctx(), &tasks.PauseTaskRequest{ContainerID: "pause"})
			equal(t, "freezer", d.freezerState("pause"), "FROZEN")
			// a frozen container can't be killed
			_, resumed := d.tasks.Resume(d.ctx(), &tasks.ResumeTaskRequest{ContainerID: "pause"})
			check(t, resumed)
			return err
		}},
		"update": {"update", nil, func() error {
			resources := pack(t, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})
			_, err := d.tasks.Update(d.ctx(), &tasks.UpdateTaskRequest{ContainerID: "update", Resources: resources})
			return err
		}},
		"kill": {"kill", []func(*specs.Spec){hostPid}, func() error {
			_, err := d.tasks.Kill(d.ctx(), &tasks.KillRequest{ContainerID: "kill", Signal: 9, All: true})
			return err
		}},
		"delete": {"delete", nil, func() error {
			check(t, kill(d, "delete"))
			d.wait("delete", "")
			_, err := d.tasks.Delete(d.ctx(), &tasks.DeleteTaskRequest{ContainerID: "delete"})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			calls := d.refusingRuntime(name, c.command, refusals, ":", c.changes...)
			check(t, c.call())
			if n := calls(); n < refusals+1 { // a kill is followed by one of the other processes
				t.Errorf("%d calls", n)
			}
		})
	}
}

// A pause that never succeeds fails after a limit, and leaves nothing frozen.
func TestRefusedPauseIsThawed(t *testing.T) {
	d := startDaemon(t, "runc")
	calls := d.refusingRuntime("c", "pause", 1000, d.freezeNow("c"))
	began := time.Now()
	_, err := d.tasks.Pause(d.ctx(), &tasks.PauseTaskRequest{ContainerID: "c"})
	equal(t, "code", status.Code(err), codes.Unknown)
	equal(t, "freezer", d.freezerState("c"), "THAWED")
	if took := time.Since(began); took > 10*time.Second || calls() < 2 {
		t.Errorf("%d calls in %v", calls(), took)
	}
	d.addExec("c", "e", "exit 3", nil, false)
	d.start("c", "e")
	equal(t, "exit status of an exec", d.wait("c", "e"), 3)
}

// A control group that another program has frozen stays frozen, and takes no exec.
func TestFrozenBySomebodyElse(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c", "exec sleep 1000", nil)
	d.addExec("c", "e", "exit 3", nil, false)
	freeze := strings.Fields(d.freezeNow("c"))
	file := strings.TrimPrefix(freeze[2], ">")
	thawed := map[string]string{"FROZEN": "THAWED", "1": "0"}[freeze[1]]
	// In version 1 a group of which a process executes a program may stay FREEZING for ever: then it has to be
	// thawed and frozen again, which is what runtimed does for a pause.
	d.await("the container is frozen", func() bool {
		check(t, os.WriteFile(file, []byte(thawed), 0))
		check(t, os.WriteFile(file, []byte(freeze[1]), 0))
		for range 50 {
			if d.freezerState("c") == "FROZEN" {
				return true
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	})
	t.Cleanup(func() { check(t, os.WriteFile(file, []byte(thawed), 0)) }) // the frozen can't be killed
	_, err := d.tasks.Pause(d.ctx(), &tasks.PauseTaskRequest{ContainerID: "c"})
	equal(t, "a pause fails", err != nil, true)
	_, err = d.tasks.Start(d.ctx(), &tasks.StartRequest{ContainerID: "c", ExecID: "e"})
	equal(t, "code of the exec", status.Code(err), codes.FailedPrecondition)
	equal(t, "freezer", d.freezerState("c"), "FROZEN")
	check(t, os.WriteFile(file, []byte(thawed), 0))
	d.start("c", "e")
	equal(t, "exit status of the exec", d.wait("c", "e"), 3)
}

// A command that must not be done twice is run once. A permanent refusal is returned at
// once.
func TestRefusedForGood(t *testing.T) {
	d := startDaemon(t, "runc")
	limit := int64(4096) // less than the usage
	shares := uint64(512)
	for name, c := range map[string]struct {
		command string
		changes []func(*specs.Spec)
		call    func(id string) error
	}{
		"exec": {"exec", nil, func(id string) error {
			d.addExec(id, "e", "exit 0", nil, false)
			_, err := d.tasks.Start(d.ctx(), &tasks.StartRequest{ContainerID: id, ExecID: "e"})
			return err
		}},
		"signal": {"kill", []func(*specs.Spec){hostPid}, func(id string) error {
			_, err := d.tasks.Kill(d.ctx(), &tasks.KillRequest{ContainerID: id, Signal: 10, All: true})
			return err
		}},
		"shares": {"update", nil, func(id string) error {
			resources := pack(t, specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}})
			_, err := d.tasks.Update(d.ctx(), &tasks.UpdateTaskRequest{ContainerID: id, Resources: resources})
			return err
		}},
		"memory": {"update", nil, func(id string) error {
			resources := pack(t, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})
			_, err := d.tasks.Update(d.ctx(), &tasks.UpdateTaskRequest{ContainerID: id, Resources: resources})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			calls := d.refusingRuntime(name, c.command, 1, ":", c.changes...)
			equal(t, "code", status.Code(c.call(name)), codes.Unknown)
			equal(t, "calls", calls(), 1)
		})
	}
	t.Run("no runtime", func(t *testing.T) {
		calls := d.refusingRuntime("gone", "pause", 0, ":")
		check(t, os.Remove(filepath.Join(d.dir, "refusing-gone")))
		began := time.Now()
		_, err := d.tasks.Pause(d.ctx(), &tasks.PauseTaskRequest{ContainerID: "gone"})
		equal(t, "a pause without a runtime fails", err != nil, true)
		equal(t, "a pause without a runtime fails at once", time.Since(began) < time.Second, true)
		check(t, os.WriteFile(filepath.Join(d.dir, "calls.gone"), nil, 0o600))
		equal(t, "calls", calls(), 0)
		d.fakeRuntime("refusing-gone", "none", ":")
	})
}
