package runtimed_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
)

// With its keeper dead runtimed ends, so that the next keeper's runtimed takes the containers over. What ended in between is unknown, and said to be.
func TestKeeperIsKilled(t *testing.T) {
	d := startDaemon(t, "runc")
	long := d.run("long", "exec sleep 1000", nil)
	short := d.run("short", "exec sleep 1000", nil)
	old := d.runtimedPid()
	check(t, d.keeper.Process.Kill())
	d.keeper.Wait() // tells that it was killed
	d.await("runtimed ends", func() bool {
		_, err := os.Stat("/proc/" + strconv.Itoa(old))
		return os.IsNotExist(err)
	})
	check(t, syscall.Kill(int(short), syscall.SIGKILL))
	d.await("the container ends", func() bool {
		_, err := os.Stat("/proc/" + strconv.Itoa(int(short)))
		return os.IsNotExist(err)
	})
	args := append([]string{"--dir", filepath.Join(d.dir, "keeper"), "--runtimed-log", filepath.Join(d.dir, "log"), "--"}, d.argv("runc")...)
	d.keeper = exec.Command(filepath.Join(binaries, "keeper"), args...)
	check(t, d.keeper.Start())
	d.awaitServing()
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "long"})
	check(t, err)
	equal(t, "status", r.Process.Status, task.Status_RUNNING)
	equal(t, "pid", r.Process.Pid, long)
	equal(t, "exit status that nobody saw", d.wait("short", ""), 0xFFFFFFFF)
	equal(t, "its reason", d.trailers("short")("engine-lite-exit-unknown"), "the process ended while no keeper was its parent")
}
