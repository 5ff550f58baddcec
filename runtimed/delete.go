package runtimed

import (
	"context"
	"time"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	killSignal = uint32(unix.SIGKILL)
	// endBound is how long an exit may take that is certain to come.
	endBound = 30 * time.Second
)

// deleteTask frees an ended task, or one that was created and never started, which is killed. A step that fails leaves the task there, for a delete to
// be called again.
func (d *Daemon) deleteTask(ctx context.Context, t *containerTask) (r exitRecord, err error) {
	err = d.change(ctx, t.c, func(ctx context.Context) error {
		if now := t.c.get(); now != t {
			_, err := t.c.living() // another delete was faster
			return err
		}
		if err := d.endCreated(ctx, t.init); err != nil {
			return err
		}
		if err := t.requireEnded(); err != nil {
			return err
		}
		if err := d.awaitMembers(ctx, t); err != nil {
			return err
		}
		for _, p := range t.processes() {
			if err := d.endExec(ctx, p); err != nil {
				return err
			}
		}
		if err := d.discardTask(ctx, t); err != nil {
			return err
		}
		t.c.setTask(nil)
		r = t.init.ended()
		d.publish(t.c.ns, runtime.TaskDeleteEventTopic, &events.TaskDelete{
			ContainerID: t.c.id, Pid: t.init.livePid(), ExitStatus: r.status(), ExitedAt: timestamppb.New(r.Time),
		})
		return nil
	})
	return r, err
}

// endCreated kills an init process that was never started, and waits for its end.
func (d *Daemon) endCreated(ctx context.Context, p *process) error {
	p.mu.Lock()
	state := p.status
	p.mu.Unlock()
	if state != created {
		return nil
	}
	if p.awaitsRestore() {
		p.abandon()
		return nil
	}
	if err := p.task.record.Runtime.delete(ctx, p.task.c.id, p.dir); err != nil {
		return err
	}
	return awaitEnd(ctx, p)
}

// requireEnded refuses to delete a task that lives. An exit that is just being published is waited for.
func (t *containerTask) requireEnded() error {
	t.init.mu.Lock()
	defer t.init.mu.Unlock()
	if t.init.status != stopped {
		return t.init.refusedLocked("delete")
	}
	return nil
}

// endExec makes sure that an exec is over before its container is freed: execs end with the init process, or soon after it where the
// container has no pid namespace of its own.
func (d *Daemon) endExec(ctx context.Context, p *process) error {
	if p.exec == "" || p.hasEnded() {
		return nil
	}
	pid, start, ok := p.identity()
	if !ok {
		p.abandon()
		return nil
	}
	if start != 0 {
		if err := signalProcess(pid, start, killSignal); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return awaitEnd(ctx, p)
}

// abandon ends a process that never ran, an exec or one that was to be restored: who waits for it is told that there is nothing to wait for.
func (p *process) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.transitionLocked("abandon", stopped) == nil {
		p.exit = unknownExit("the process was never started")
		close(p.done)
	}
}

// deleteExec frees an ended exec, or one that was never started.
func (d *Daemon) deleteExec(ctx context.Context, p *process) (r exitRecord, err error) {
	err = d.change(ctx, p.task.c, func(context.Context) error {
		if now, err := p.task.process(p.exec); err != nil {
			return err
		} else if now != p {
			return nil // deleted, and the id used again
		}
		p.mu.Lock()
		state, pid := p.status, p.pid
		p.mu.Unlock()
		switch state {
		case added:
			p.abandon()
		case stopped:
		default:
			return p.refused("delete")
		}
		if err := d.dispose(p.task, p.dir); err != nil {
			return err
		}
		p.task.removeExec(p)
		r = p.ended()
		d.publish(p.task.c.ns, runtime.TaskDeleteEventTopic, &events.TaskDelete{
			ContainerID: p.task.c.id, ID: p.exec, Pid: uint32(pid), ExitStatus: r.status(), ExitedAt: timestamppb.New(r.Time),
		})
		return nil
	})
	return r, err
}

func (p *process) refused(action string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusedLocked(action)
}
