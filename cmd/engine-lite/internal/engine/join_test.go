package engine

import (
	"context"
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
