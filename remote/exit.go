package remote

import (
	"context"
	"fmt"
	"slices"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// unknownStatus on the wire is a status that nobody can know.
const unknownStatus = 0xFFFFFFFF

// Trailers that runtimed adds to the answers of Wait, Get, Delete and
// DeleteProcess; containerd has no place for what they say.
const (
	// TrailerUnknown is the reason why a status is unknown.
	TrailerUnknown = "engine-lite-exit-unknown"
	// TrailerOOM is "true" or "false": whether the kernel killed a process of
	// the container for want of memory.
	TrailerOOM = "engine-lite-oom-killed"
)

// exitTrailer is what a call's trailer said of an exit.
type exitTrailer struct{ md metadata.MD }

func (t *exitTrailer) option() grpc.CallOption { return grpc.Trailer(&t.md) }

func (t *exitTrailer) get(key string) string {
	if v := t.md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// exitOf is an exit in the wire's terms.
func exitOf(status uint32, at *timestamppb.Timestamp) libcontainerd.Exit {
	e := libcontainerd.Exit{Code: int(status)}
	// The zero time of Go, in the year 1, is how containerd says "not yet".
	if t := at.AsTime(); at.IsValid() && t.After(time.Unix(0, 0)) {
		e.Time = t
	}
	switch {
	case status == unknownStatus:
		e.Code, e.Unknown = 0, "the runtime daemon does not know the status"
	case status > 255:
		e.Code, e.Unknown = 0, fmt.Sprintf("the runtime daemon told an impossible status, %d", status)
	}
	return e
}

// lastPid is the largest pid that Linux gives.
const lastPid = 1 << 22

// pidOf is a pid in the wire's terms; 0 for one that can't be, such as the -1 of
// a shim whose exec has ended.
func pidOf(pid uint32) int {
	if pid > lastPid {
		return 0
	}
	return int(pid)
}

// complete adds to an exit what the wire's message has no field for.
func (d *Daemon) complete(ctx context.Context, id, process string, e *libcontainerd.Exit, t exitTrailer) {
	if reason := t.get(TrailerUnknown); reason != "" && e.Unknown != "" {
		e.Unknown = reason
	}
	if process != libcontainerd.InitProcess {
		return
	}
	switch t.get(TrailerOOM) {
	case "true":
		e.OOMKilled = true
	case "false":
	default:
		e.OOMKilled = d.oomKilled(ctx, id)
	}
}

// oomTimeout bounds the question after an exit, lest a shim that hangs delay
// the exit itself.
const oomTimeout = 2 * time.Second

// oomKilled reads the counter of a stopped task's control group, which is there
// until the task is deleted. Where it isn't, nothing is known of such a kill.
func (d *Daemon) oomKilled(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, oomTimeout)
	defer cancel()
	s, err := d.Stats(ctx, id)
	return err == nil && s.OOMKills > 0
}

// Wait returns when a process has ended.
func (d *Daemon) Wait(ctx context.Context, id, process string) (libcontainerd.Exit, error) {
	var t exitTrailer
	r, err := d.tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: id, ExecID: wireID(process)}, t.option())
	if err != nil {
		return libcontainerd.Exit{}, err
	}
	e := exitOf(r.ExitStatus, r.ExitedAt)
	d.complete(ctx, id, process, &e, t)
	return e, nil
}

// Delete frees an ended process, with InitProcess the whole task.
func (d *Daemon) Delete(ctx context.Context, id, process string) (libcontainerd.Exit, error) {
	var t exitTrailer
	var r *tasksapi.DeleteResponse
	var err error
	if process == libcontainerd.InitProcess {
		r, err = d.tasks.Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: id}, t.option())
	} else {
		r, err = d.tasks.DeleteProcess(ctx, &tasksapi.DeleteProcessRequest{ContainerID: id, ExecID: process}, t.option())
	}
	if err != nil {
		return libcontainerd.Exit{}, d.classed(ctx, id, process, err, libcontainerd.TaskCreated, libcontainerd.TaskStopped)
	}
	e := exitOf(r.ExitStatus, r.ExitedAt)
	e.OOMKilled = t.get(TrailerOOM) == "true"
	return e, nil
}

// classed gives the error of a request its class where the daemon didn't: containerd
// refuses some that the state of a process doesn't allow as "unknown".
func (d *Daemon) classed(ctx context.Context, id, process string, err error, allowed ...libcontainerd.TaskStatus) error {
	if !errdefs.IsUnknown(err) && !errdefs.IsInternal(err) {
		return err
	}
	r, stateErr := d.tasks.Get(ctx, &tasksapi.GetRequest{ContainerID: id, ExecID: wireID(process)})
	if stateErr != nil {
		return err
	}
	status := task(id, r.GetProcess()).Status
	if status == libcontainerd.TaskUnknown || slices.Contains(allowed, status) {
		return err
	}
	return fmt.Errorf("%w: %w", errdefs.ErrFailedPrecondition, err)
}

// task is a process in the wire's terms.
func task(id string, p *tasktypes.Process) libcontainerd.Task {
	t := libcontainerd.Task{ID: id, Pid: pidOf(p.GetPid())}
	switch p.GetStatus() {
	case tasktypes.Status_CREATED:
		t.Status = libcontainerd.TaskCreated
	case tasktypes.Status_RUNNING:
		t.Status = libcontainerd.TaskRunning
	case tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		t.Status = libcontainerd.TaskPaused
	case tasktypes.Status_STOPPED:
		t.Status = libcontainerd.TaskStopped
		t.Exit = exitOf(p.GetExitStatus(), p.GetExitedAt())
	case tasktypes.Status_UNKNOWN:
	}
	return t
}
