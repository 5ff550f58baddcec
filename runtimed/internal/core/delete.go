package core

import (
	"context"
	"time"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
)

// endBound is how long an exit may take that is certain to come.
const endBound = 30 * time.Second

// Delete frees a task that has ended, or was never started; with an exec id, such an exec. It returns the process.
//
// NotFound is an answer about now: a request that makes the task or the exec, and whose caller may have gone, is waited
// for. Else the caller of a failed create would believe that nothing is left, and find the task later.
func (d *Daemon) Delete(ctx context.Context, ns, id, exec string) (*Process, ExitRecord, error) {
	p, err := d.FindProcess(ns, id, exec)
	if errdefs.IsNotFound(err) {
		p, err = d.findSettled(ctx, ns, id, exec)
	}
	if err != nil {
		return nil, ExitRecord{}, err
	}
	var r ExitRecord
	if p.exec != "" {
		r, err = p.deleteExec(ctx)
	} else {
		r, err = p.task.delete(ctx)
	}
	return p, r, err
}

// findSettled is FindProcess after the operation on the container that is under way.
func (d *Daemon) findSettled(ctx context.Context, ns, id, exec string) (*Process, error) {
	c, err := d.find(ns, id)
	if err != nil {
		return nil, err
	}
	if err := c.acquire(ctx); err != nil {
		return nil, err
	}
	c.release()
	return d.FindProcess(ns, id, exec)
}

// delete frees an ended task, or one that was created and never started, which is killed. A step that fails leaves
// the task there, for a delete to be called again.
func (t *containerTask) delete(ctx context.Context) (r ExitRecord, err error) {
	d := t.c.d
	err = t.c.change(ctx, func(ctx context.Context) error {
		if now := t.c.get(); now != t {
			_, err := t.c.living() // another delete was faster
			return err
		}
		if err := t.init.endCreated(ctx); err != nil {
			return err
		}
		if err := t.requireEnded(); err != nil {
			return err
		}
		if err := t.awaitMembers(ctx); err != nil {
			return err
		}
		for _, p := range t.processes() {
			if err := p.end(ctx); err != nil {
				return err
			}
		}
		if err := t.discard(ctx); err != nil {
			return err
		}
		t.c.setTask(nil)
		r = t.init.Exit()
		d.publish(t.c.ns, runtime.TaskDeleteEventTopic, &events.TaskDelete{
			ContainerID: t.c.id, Pid: t.init.Pid(), ExitStatus: r.Status(), ExitedAt: timestamppb.New(r.Time),
		})
		return nil
	})
	return r, err
}

// endCreated kills an init process that was never started, and waits for its end.
func (p *Process) endCreated(ctx context.Context) error {
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
	if err := p.task.record.Runtime.Delete(ctx, p.task.c.id, p.dir); err != nil {
		return err
	}
	return awaitEnd(ctx, p)
}

// requireEnded refuses to delete a task that lives. An exit that is just being published is waited for.
func (t *containerTask) requireEnded() error {
	t.init.mu.Lock()
	defer t.init.mu.Unlock()
	if t.init.status != stopped {
		return t.init.wrongStatusLocked("delete")
	}
	return nil
}

// end makes sure that an exec is over before its container is freed: execs end with the init process, or soon after
// it where the container has no pid namespace of its own.
func (p *Process) end(ctx context.Context) error {
	if p.exec == "" || p.hasEnded() {
		return nil
	}
	pid, start, ok := p.identity()
	if !ok {
		p.abandon()
		return nil
	}
	if start != 0 {
		if err := proc.Signal(pid, start, proc.KillSignal); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return awaitEnd(ctx, p)
}

// abandon ends a process that never ran: an exec, or an init process that was to be restored. Whoever waits for it is
// woken.
func (p *Process) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.transitionLocked("abandon", stopped) == nil {
		p.exit = unknownExit("the process was never started")
		close(p.done)
	}
}

// deleteExec frees an ended exec, or one that was never started.
func (p *Process) deleteExec(ctx context.Context) (r ExitRecord, err error) {
	d := p.task.c.d
	err = p.task.c.change(ctx, func(context.Context) error {
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
			return p.wrongStatus("delete")
		}
		if err := p.task.dispose(p.dir); err != nil {
			return err
		}
		p.task.removeExec(p)
		r = p.Exit()
		d.publish(p.task.c.ns, runtime.TaskDeleteEventTopic, &events.TaskDelete{
			ContainerID: p.task.c.id, ID: p.exec, Pid: uint32(pid), ExitStatus: r.Status(), ExitedAt: timestamppb.New(r.Time),
		})
		return nil
	})
	return r, err
}

func (p *Process) wrongStatus(action string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrongStatusLocked(action)
}
