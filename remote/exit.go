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

// unknownStatus is the exit status in a message that stands for an unknown status. It is
// containerd's UnknownExitStatus.
const unknownStatus = 0xFFFFFFFF

// The gRPC trailers that runtimed adds to the answers of Wait, Get, Delete and
// DeleteProcess. containerd's messages have no fields for them.
const (
	// trailerUnknown is the reason why a status is unknown.
	trailerUnknown = "engine-lite-exit-unknown"
	// trailerOOM is "true" or "false": whether the kernel killed a process of
	// the container because memory ran out.
	trailerOOM = "engine-lite-oom-killed"
)

// exitTrailer is the trailer of a call whose answer has an exit.
type exitTrailer struct{ md metadata.MD }

func (t *exitTrailer) option() grpc.CallOption { return grpc.Trailer(&t.md) }

func (t *exitTrailer) get(key string) string {
	if v := t.md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// exitOf returns the Exit for the fields of a message.
func exitOf(status uint32, at *timestamppb.Timestamp) libcontainerd.Exit {
	e := libcontainerd.Exit{Code: int(status)}
	// containerd sends Go's zero time, in the year 1, for a process that has not exited.
	if t := at.AsTime(); at.IsValid() && t.After(time.Unix(0, 0)) {
		e.Time = t
	}
	switch {
	case status == unknownStatus:
		e.Code, e.Unknown = 0, "the runtime daemon does not know the status"
	case status > 255:
		e.Code, e.Unknown = 0, fmt.Sprintf("the runtime daemon reported an impossible status, %d", status)
	}
	return e
}

// lastPid is the largest pid of Linux, see pid_max in proc_sys_kernel(5).
const lastPid = 1 << 22

// pidOf returns the pid in a message, or 0 for an impossible one: a shim reports -1 for
// an exec that has exited.
func pidOf(pid uint32) int {
	if pid > lastPid {
		return 0
	}
	return int(pid)
}

// complete adds to an exit the reason of Unknown and OOMKilled, for which containerd's
// messages have no field.
func (d *Daemon) complete(ctx context.Context, id, process string, e *libcontainerd.Exit, t exitTrailer) {
	if reason := t.get(trailerUnknown); reason != "" && e.Unknown != "" {
		e.Unknown = reason
	}
	if process != libcontainerd.InitProcess {
		return
	}
	switch t.get(trailerOOM) {
	case "true":
		e.OOMKilled = true
	case "false":
	default:
		e.OOMKilled = d.oomKilled(ctx, id)
	}
}

// oomTimeout bounds the call of oomKilled, so that a shim that hangs doesn't delay the
// exit.
const oomTimeout = 2 * time.Second

// oomKilled reads the counter of OOM kills of a stopped task's control group, which
// exists until the task is deleted. It returns false if the counter can't be read.
func (d *Daemon) oomKilled(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, oomTimeout)
	defer cancel()
	s, err := d.Stats(ctx, id)
	return err == nil && s.OOMKills > 0
}

// Wait returns when a process has exited.
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

// Delete frees a process that has exited. For InitProcess it frees the task.
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
	e.OOMKilled = t.get(trailerOOM) == "true"
	return e, nil
}

// classed returns FailedPrecondition for an error without a class, if the state of the
// process is none of allowed: containerd answers some requests that the state doesn't
// allow with the code Unknown.
func (d *Daemon) classed(ctx context.Context, id, process string, err error,
	allowed ...libcontainerd.TaskStatus) error {
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

// task returns the Task for a process in a message.
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
