package libcontainerdtest

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Kill sends a signal to a process, with all to every process of the task.
func (d *Daemon) Kill(ctx context.Context, id, process string, sig syscall.Signal, all bool) error {
	late, err := d.enter(ctx, "Kill")
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.findLocked(id, process)
	if err != nil {
		return err
	}
	if p.status == libcontainerd.TaskStopped {
		return fmt.Errorf("process %q has ended: %w", process, errdefs.ErrNotFound)
	}
	if !p.started {
		p.endLocked(id, libcontainerd.Exit{Code: 128 + int(sig), Time: time.Now()})
		return late
	}
	p.signalLocked(sig)
	if all {
		for _, other := range p.task.procs {
			other.signalLocked(sig)
		}
	}
	return late
}

// OOMKill kills a container's init process as the kernel does when memory runs out.
func (d *Daemon) OOMKill(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tasks[id]; t != nil {
		t.init.oom = true
		t.oomKills++
		t.init.killLocked(syscall.SIGKILL)
	}
}

// Forget removes a task with its processes, without events, like a daemon that lost its state.
func (d *Daemon) Forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tasks[id]
	if t == nil {
		return
	}
	delete(d.tasks, id)
	for _, p := range t.procs {
		p.killLocked(syscall.SIGKILL)
	}
}

// Resize does nothing. It is NotFound for a process that doesn't exist.
func (d *Daemon) Resize(ctx context.Context, id, process string, _, _ uint32) error {
	return d.on(ctx, "Resize", id, process, func(*proc) error { return nil })
}

// CloseIO ends a process's stdin.
func (d *Daemon) CloseIO(ctx context.Context, id, process string) error {
	return d.on(ctx, "CloseIO", id, process, func(p *proc) error {
		if p.streams.stdin != nil {
			p.streams.stdin.exit()
		}
		return nil
	})
}

// on counts a call of op, applies its fault, and calls fn with the process while it holds mu.
func (d *Daemon) on(ctx context.Context, op, id, process string, fn func(*proc) error) error {
	late, err := d.enter(ctx, op)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.findLocked(id, process)
	if err != nil {
		return err
	}
	if err := fn(p); err != nil {
		return err
	}
	return late
}

// Pause stops a task's scripts before their next command.
func (d *Daemon) Pause(ctx context.Context, id string) error {
	return d.on(ctx, "Pause", id, libcontainerd.InitProcess, func(p *proc) error {
		if p.status != libcontainerd.TaskRunning || p.task.paused {
			return fmt.Errorf("task %q is not running: %w", id, errdefs.ErrFailedPrecondition)
		}
		p.task.paused, p.task.thaw = true, make(chan struct{})
		d.emitLocked(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonPaused, ContainerID: id, ProcessID: p.id})
		return nil
	})
}

// Resume undoes Pause.
func (d *Daemon) Resume(ctx context.Context, id string) error {
	return d.on(ctx, "Resume", id, libcontainerd.InitProcess, func(p *proc) error {
		if !p.task.paused {
			return fmt.Errorf("task %q is not paused: %w", id, errdefs.ErrFailedPrecondition)
		}
		p.task.paused = false
		close(p.task.thaw)
		for _, q := range p.task.procs {
			if q.pending != 0 {
				q.killLocked(q.pending)
			}
		}
		d.emitLocked(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonResumed, ContainerID: id, ProcessID: p.id})
		return nil
	})
}

// thawed waits until the task isn't paused. It returns false when the process has to end.
func (t *task) thawed(ctx context.Context) bool {
	t.daemon.mu.Lock()
	thaw := t.thaw
	t.daemon.mu.Unlock()
	select {
	case <-thaw:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Pids lists the running processes.
func (d *Daemon) Pids(ctx context.Context, id string) (pids []int, err error) {
	err = d.on(ctx, "Pids", id, libcontainerd.InitProcess, func(p *proc) error {
		for _, q := range p.task.procs {
			if q.status == libcontainerd.TaskRunning {
				pids = append(pids, q.pid)
			}
		}
		return nil
	})
	return pids, err
}

// Processes lists the running processes with their arguments.
func (d *Daemon) Processes(ctx context.Context, id string) (all []libcontainerd.Process, err error) {
	err = d.on(ctx, "Processes", id, libcontainerd.InitProcess, func(p *proc) error {
		for _, q := range p.task.procs {
			if q.status == libcontainerd.TaskRunning {
				all = append(all, libcontainerd.Process{Pid: q.pid, Args: slices.Clone(q.args)})
			}
		}
		return nil
	})
	return all, err
}

// Stats count processes and out-of-memory kills.
func (d *Daemon) Stats(ctx context.Context, id string) (stats *libcontainerd.Stats, err error) {
	err = d.on(ctx, "Stats", id, libcontainerd.InitProcess, func(p *proc) error {
		stats = &libcontainerd.Stats{Time: time.Now(), PidsCurrent: uint64(len(p.task.procs)),
			OOMKills: p.task.oomKills}
		return nil
	})
	return stats, err
}

// Update does nothing. Any limits are accepted.
func (d *Daemon) Update(ctx context.Context, id string, _ *specs.LinuxResources) error {
	return d.on(ctx, "Update", id, libcontainerd.InitProcess, func(*proc) error { return nil })
}

// Wait returns when a process has ended.
func (d *Daemon) Wait(ctx context.Context, id, process string) (libcontainerd.Exit, error) {
	late, err := d.enter(ctx, "Wait")
	if err != nil {
		return libcontainerd.Exit{}, err
	}
	d.mu.Lock()
	p, err := d.findLocked(id, process)
	lost := d.lost
	d.mu.Unlock()
	if err != nil {
		return libcontainerd.Exit{}, err
	}
	select {
	case <-p.done:
	case <-lost:
		return libcontainerd.Exit{}, fmt.Errorf("Wait: the daemon went down: %w", errdefs.ErrUnavailable)
	case <-ctx.Done():
		return libcontainerd.Exit{}, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now, err := d.findLocked(id, process); err != nil || now != p {
		return libcontainerd.Exit{}, fmt.Errorf("process %q: %w", process, errdefs.ErrNotFound)
	}
	return p.exit, late
}

// Delete deletes a process that has ended or was never started. For InitProcess it deletes the task.
func (d *Daemon) Delete(ctx context.Context, id, process string) (e libcontainerd.Exit, err error) {
	err = d.on(ctx, "Delete", id, process, func(p *proc) error {
		if p.status == libcontainerd.TaskRunning {
			return fmt.Errorf("process %q is running: %w", process, errdefs.ErrFailedPrecondition)
		}
		e = p.exit
		delete(p.task.procs, process)
		if process == libcontainerd.InitProcess {
			delete(d.tasks, id)
		}
		d.emitLocked(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonDeleted, ContainerID: id, ProcessID: process,
			Pid: p.pid, Exit: e})
		return nil
	})
	return e, err
}

// Process returns the state of one process.
func (d *Daemon) Process(ctx context.Context, id, process string) (t libcontainerd.Task, err error) {
	err = d.on(ctx, "Process", id, process, func(p *proc) error {
		t = p.listed(id)
		return nil
	})
	return t, err
}

func (p *proc) listed(id string) libcontainerd.Task {
	t := libcontainerd.Task{ID: id, Pid: p.pid, Status: p.status, Exit: p.exit}
	if p.status == libcontainerd.TaskRunning && p.task.paused {
		t.Status = libcontainerd.TaskPaused
	}
	return t
}

// Tasks lists the init processes. As in containerd's list, the exits lack OOMKilled and the reason of Unknown, for
// which containerd's message has no field.
func (d *Daemon) Tasks(ctx context.Context) ([]libcontainerd.Task, error) {
	late, err := d.enter(ctx, "Tasks")
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []libcontainerd.Task
	for id, t := range d.tasks {
		task := t.init.listed(id)
		task.Exit.OOMKilled = false
		if task.Exit.Unknown != "" {
			task.Exit.Unknown = "unknown"
		}
		all = append(all, task)
	}
	return all, late
}
