package runtimed_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// If the OCI runtime refuses a container whose init process has ended, and runtimed has
// not been told yet, the error has the right class.
func TestRefusedAfterTheEnd(t *testing.T) {
	for name, call := range map[string]func(d *daemon) error{
		"pause": func(d *daemon) error {
			_, err := d.tasks.Pause(d.ctx(), &tasks.PauseTaskRequest{ContainerID: "c"})
			return err
		},
		"update": func(d *daemon) error {
			limit := int64(64 << 20)
			resources := pack(d.t, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})
			_, err := d.tasks.Update(d.ctx(), &tasks.UpdateTaskRequest{ContainerID: "c", Resources: resources})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, "runc")
			pid := int(d.run("c", "exec sleep 1000", nil))
			unreaped(d, pid)
			equal(t, "code", status.Code(call(d)), codes.FailedPrecondition)
			check(t, d.keeper.Process.Signal(syscall.SIGCONT))
			equal(t, "exit status", d.wait("c", ""), 137)
		})
	}
	t.Run("start", func(t *testing.T) {
		d := startDaemon(t, "runc")
		d.record("c", d.spec("c", "exit 0"))
		ctx, cancel := d.within()
		defer cancel()
		r, err := d.tasks.Create(ctx, &tasks.CreateTaskRequest{ContainerID: "c"})
		check(t, err)
		unreaped(d, int(r.Pid))
		_, err = d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "c"})
		equal(t, "code", status.Code(err), codes.FailedPrecondition)
		check(t, d.keeper.Process.Signal(syscall.SIGCONT))
		equal(t, "exit status", d.wait("c", ""), 137)
	})
}

// unreaped kills a process that stays a zombie, since the keeper is stopped until SIGCONT.
func unreaped(d *daemon, pid int) {
	d.t.Helper()
	check(d.t, d.keeper.Process.Signal(syscall.SIGSTOP))
	d.t.Cleanup(func() { check(d.t, d.keeper.Process.Signal(syscall.SIGCONT)) })
	d.await("the keeper is stopped", func() bool { return stateOf(d.keeper.Process.Pid) == "T" })
	check(d.t, syscall.Kill(pid, syscall.SIGKILL))
	d.await("the process is a zombie", func() bool { return stateOf(pid) == "Z" })
}

// stateOf is the state in /proc/PID/stat; empty without the process.
func stateOf(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:1]
}

// A paused container takes no further process, which would be frozen before it runs.
func TestExecWhilePaused(t *testing.T) {
	eachRuntime(t, func(t *testing.T, d *daemon) {
		d.run("c", "exec sleep 1000", nil)
		ctx, cancel := d.within()
		defer cancel()
		process := specs.Process{Args: []string{"/bin/sh", "-c", "exit 4"}, Cwd: "/"}
		_, err := d.tasks.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: "c", ExecID: "e", Spec: pack(t, process)})
		check(t, err)
		_, err = d.tasks.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: "c"})
		check(t, err)
		_, err = d.tasks.Start(ctx, &tasks.StartRequest{ContainerID: "c", ExecID: "e"})
		equal(t, "code while it is paused", status.Code(err), codes.FailedPrecondition)
		_, err = d.tasks.Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: "c"})
		check(t, err)
		d.start("c", "e")
		equal(t, "exit status", d.wait("c", "e"), 4)
	})
}
