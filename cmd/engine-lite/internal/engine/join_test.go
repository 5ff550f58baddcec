package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

func pidOf(name string) func(*container.CreateRequest) {
	return func(req *container.CreateRequest) { req.HostConfig.PidMode = container.PidMode("container:" + name) }
}

// startRefused starts a container, which has to fail with a class and words. Nothing may be left of the start.
func (r *rig) startRefused(id string, is func(error) bool, says string) {
	r.t.Helper()
	err := r.e.ContainerStart(r.t.Context(), id)
	if !is(err) || !strings.Contains(err.Error(), says) {
		r.t.Errorf("%v, and not: %s", err, says)
	}
	if rec := r.task(id).Record(); rec.ExitCode != 128 || !strings.Contains(rec.Error, says) {
		r.t.Errorf("exit code %d, error %q", rec.ExitCode, rec.Error)
	}
	must(r.t, r.daemon.Containers(context.Background(), func(at string) error {
		if at == id {
			r.t.Error("the runtime daemon has the container")
		}
		return nil
	}))
}

// TestJoinRefused starts containers that share the PID namespace of one which is not running. The pids of the fake
// runtime daemon are those of nobody, or of processes that are not the container's.
func TestJoinRefused(t *testing.T) {
	r := newRig(t)
	donor := r.create("donor", "sleep 1000")
	id := r.create("joins", "exit 0", pidOf("donor"))
	words := "failed to join PID namespace: container " + donor + " is not running"
	if mode := string(r.task(id).Record().HostConfig.PidMode); mode != "container:"+donor {
		t.Errorf("the mode is %s", mode)
	}
	r.startRefused(id, errdefs.IsInternal, words)
	must(t, r.e.ContainerRename(t.Context(), "donor", "other"))
	r.startRefused(id, errdefs.IsInternal, words)
	must(t, r.e.ContainerStart(t.Context(), donor))
	r.startRefused(id, errdefs.IsInternal, words) // whosever the pid is
	must(t, r.e.ContainerRemove(t.Context(), donor, RemoveOptions{Force: true}))
	r.startRefused(id, errdefs.IsInternal, "failed to join PID namespace: No such container: "+donor)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

// TestJoinRestarting refuses a start that shares the PID namespace of a container between two runs, and one of a
// container that refers to itself, which no request can bring about. Neither waits for a lock.
func TestJoinRestarting(t *testing.T) {
	r := newRig(t)
	donor := r.create("donor", "sleep 1000")
	id := r.create("joins", "exit 0", pidOf("donor"))
	r.reopen(edit(donor, func(c *record.Record) {
		c.Status, c.RestartAt = record.StatusRestarting, time.Now().Add(time.Hour)
		c.HostConfig.RestartPolicy.Name = record.RestartAlways
	}), func(tx *store.Tx) error {
		return edit(id, func(c *record.Record) { c.HostConfig.PidMode = record.PidMode("container:" + id) })(tx)
	})
	r.startRefused(id, errdefs.IsInternal, "container "+id+" is not running")
	other := r.create("", "exit 0", pidOf("donor"))
	r.startRefused(other, errdefs.IsInternal, "Container "+donor+" is restarting, wait until the container is running")
}

func ipcMode(mode string) func(*container.CreateRequest) {
	return func(req *container.CreateRequest) { req.HostConfig.IpcMode = container.IpcMode(mode) }
}

// shms counts the mounts in the directories of containers.
func (r *rig) shms() int {
	r.t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	must(r.t, err)
	return strings.Count(string(data), " "+filepath.Join(r.root, "containers")+"/")
}

// TestJoinIPCRefused starts containers that share the IPC namespace of one which is not running, or which has another
// one's pid.
func TestJoinIPCRefused(t *testing.T) {
	r := newRig(t)
	donor := r.create("donor", "sleep 1000", ipcMode("shareable"))
	id := r.create("joins", "exit 0", ipcMode("container:donor"))
	if mode := string(r.task(id).Record().HostConfig.IpcMode); mode != "container:"+donor {
		t.Errorf("the mode is %s", mode)
	}
	words := "failed to join IPC namespace: container " + donor + " is not running"
	r.startRefused(id, errdefs.IsConflict, words)
	must(t, r.e.ContainerStart(t.Context(), donor))
	if n := r.shms(); n != 1 {
		t.Errorf("%d mounts while the donor runs", n)
	}
	r.startRefused(id, errdefs.IsConflict, words) // whosever the pid is
	if n := r.shms(); n != 1 {
		t.Errorf("%d mounts after a start that was refused", n)
	}
	must(t, r.e.ContainerRemove(t.Context(), donor, RemoveOptions{Force: true}))
	r.startRefused(id, errdefs.IsInvalidArgument, "failed to join IPC namespace: No such container: "+donor)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
	if n := r.shms(); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
}

// TestShmMounts follows the mount of a container's shared memory through runs, failed starts, and the deaths of engines
// between a mount and a start, and between an exit and an unmount.
func TestShmMounts(t *testing.T) {
	r := newRig(t)
	mounted := func(when string, want int) {
		t.Helper()
		if n := r.shms(); n != want {
			t.Errorf("%s: %d mounts, and not %d", when, n, want)
		}
	}
	r.ended(r.run("", "exit 0"))
	mounted("a private run", 0)
	id := r.run("", "sleep 1000", ipcMode("shareable"))
	mounted("a run", 1)
	r.reopen()
	mounted("a run under the next engine", 1)
	must(t, r.e.ContainerKill(t.Context(), id, "KILL"))
	r.ended(id)
	mounted("after the exit", 0)
	r.daemon.Fail("CreateTask", 1, libFault(errdefs.ErrInternal))
	if err := r.e.ContainerStart(t.Context(), id); err == nil {
		t.Error("a start that the runtime daemon refuses succeeds")
	}
	mounted("a failed start", 0)
	for _, status := range []record.Status{record.StatusCreated, record.StatusExited} {
		if _, err := r.e.join(r.task(id).Record()); err != nil {
			t.Fatal(err)
		}
		mounted("an engine that dies", 1)
		r.reopen(edit(id, func(c *record.Record) { c.Status = status }))
		mounted("the next engine", 0)
	}
	if _, err := r.e.join(r.task(id).Record()); err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile(filepath.Join(r.e.containerDir(id), "shm", "x"), nil, 0o600))
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	mounted("a removal", 0)
}
