package core

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
)

// SetPaused freezes or thaws all processes of a running task.
func (p *Process) SetPaused(ctx context.Context, pause bool) error {
	d := p.task.c.d
	t := p.task
	action, topic := "resume", runtime.TaskResumedEventTopic
	run := func(ctx context.Context) error { return t.record.Runtime.Resume(ctx, t.c.id, t.init.dir) }
	event := any(&events.TaskResumed{ContainerID: t.c.id})
	if pause {
		action, topic = "pause", runtime.TaskPausedEventTopic
		run = func(ctx context.Context) error { return t.record.Runtime.Pause(ctx, t.target()) }
		event = &events.TaskPaused{ContainerID: t.c.id}
	}
	return t.c.change(ctx, func(ctx context.Context) error {
		if err := t.requireRunning(action); err != nil {
			return err
		}
		if t.isPaused() == pause {
			return fmt.Errorf("cannot %s container %q, which is so already: %w",
				action, t.c.id, errdefs.ErrFailedPrecondition)
		}
		if err := run(ctx); err != nil {
			return t.classify(err)
		}
		t.setPaused(pause)
		d.publish(t.c.ns, topic, event)
		return nil
	})
}

// thaw resumes a task that was killed while it was paused: in version 1 a frozen process does not die before it is
// thawed.
func (t *containerTask) thaw(ctx context.Context) error {
	d := t.c.d
	groups := t.controlGroups()
	if t.init.hasEnded() || !groups.IsFreezing() {
		return nil
	}
	if err := t.record.Runtime.Resume(ctx, t.c.id, t.init.dir); err != nil && !t.init.hasEnded() {
		return err
	}
	t.setPaused(false)
	d.publish(t.c.ns, runtime.TaskResumedEventTopic, &events.TaskResumed{ContainerID: t.c.id})
	return nil
}
