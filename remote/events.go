package remote

import (
	"context"
	"fmt"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/typeurl/v2"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// askTimeout bounds a Subscribe at a daemon that doesn't answer.
const askTimeout = 10 * time.Second

// Subscribe starts a stream of the events of this namespace's tasks. ctx bounds the
// whole subscription. containerd doesn't report when the subscription has begun, so an
// event that happens just after Subscribe may be missing. Subscribe also asks which
// daemon serves, see CopiesOutput.
func (d *Daemon) Subscribe(ctx context.Context) (libcontainerd.Subscription, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stream, err := d.events.Subscribe(ctx, &eventsapi.SubscribeRequest{
		Filters: []string{fmt.Sprintf("namespace==%s,topic~=|^/tasks/|", d.options.Namespace)},
	})
	if err == nil {
		// The stream is there before the question. If another daemon answers than has the stream, the stream has ended.
		asking, done := context.WithTimeout(ctx, askTimeout)
		_, err = d.ask(asking)
		done()
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return &subscription{stream: stream, ctx: ctx, cancel: cancel}, nil
}

type subscription struct {
	stream eventsapi.Events_SubscribeClient
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Next returns the next event that package libcontainerd has a type for, and skips
// others. The end of ctx ends the subscription.
func (s *subscription) Next(ctx context.Context) (libcontainerd.DaemonEvent, error) {
	stop := context.AfterFunc(ctx, func() { s.cancel(context.Cause(ctx)) })
	defer stop()
	for {
		envelope, err := s.stream.Recv()
		if err != nil {
			if s.ctx.Err() != nil {
				return libcontainerd.DaemonEvent{}, context.Cause(s.ctx)
			}
			return libcontainerd.DaemonEvent{}, native(err)
		}
		if envelope.GetEvent() == nil {
			continue
		}
		message, err := typeurl.UnmarshalAny(envelope.Event)
		if err != nil {
			continue // a type of another version of the daemon
		}
		if e, ok := event(message); ok {
			return e, nil
		}
	}
}

func (s *subscription) Close() error {
	s.cancel(context.Canceled)
	return nil
}

// processOf returns the process id for the id in an event. In events the init process has
// the container's id, or none.
func processOf(containerID, id string) string {
	if id == "" || id == containerID {
		return libcontainerd.InitProcess
	}
	return id
}

// event returns the DaemonEvent for a message of containerd; false for other messages.
func event(message any) (libcontainerd.DaemonEvent, bool) {
	switch m := message.(type) {
	case *apievents.TaskExit:
		return libcontainerd.DaemonEvent{Type: libcontainerd.DaemonExit, ContainerID: m.ContainerID,
			ProcessID: processOf(m.ContainerID, m.ID), Pid: pidOf(m.Pid), Exit: exitOf(m.ExitStatus, m.ExitedAt)}, true
	case *apievents.TaskDelete:
		return libcontainerd.DaemonEvent{Type: libcontainerd.DaemonDeleted, ContainerID: m.ContainerID,
			ProcessID: processOf(m.ContainerID, m.ID), Pid: pidOf(m.Pid), Exit: exitOf(m.ExitStatus, m.ExitedAt)}, true
	case *apievents.TaskOOM:
		return ofInit(libcontainerd.DaemonOOM, m.ContainerID, 0), true
	case *apievents.TaskPaused:
		return ofInit(libcontainerd.DaemonPaused, m.ContainerID, 0), true
	case *apievents.TaskResumed:
		return ofInit(libcontainerd.DaemonResumed, m.ContainerID, 0), true
	case *apievents.TaskStart:
		return ofInit(libcontainerd.DaemonStarted, m.ContainerID, m.Pid), true
	case *apievents.TaskExecAdded:
		return libcontainerd.DaemonEvent{Type: libcontainerd.DaemonExecAdded, ContainerID: m.ContainerID,
			ProcessID: m.ExecID}, m.ExecID != ""
	case *apievents.TaskExecStarted:
		return libcontainerd.DaemonEvent{Type: libcontainerd.DaemonExecStarted, ContainerID: m.ContainerID,
			ProcessID: m.ExecID, Pid: pidOf(m.Pid)}, m.ExecID != ""
	}
	return libcontainerd.DaemonEvent{}, false
}

func ofInit(t libcontainerd.DaemonEventType, id string, pid uint32) libcontainerd.DaemonEvent {
	return libcontainerd.DaemonEvent{Type: t, ContainerID: id, ProcessID: libcontainerd.InitProcess, Pid: pidOf(pid)}
}
