package core

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
	"github.com/engine-lite/engine-lite/runtimed/internal/ocispec"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// Start starts a created init process, or an exec that was added.
func (p *Process) Start(ctx context.Context) error {
	if p.exec != "" {
		return p.startExec(ctx)
	}
	return p.startInit(ctx)
}

// startInit starts a created init process. One that runs although the OCI runtime failed, which happens when a
// poststart hook fails or hangs, is started: the OCI runtime specification 1.0.2 (runtime.md, lifecycle, 9) has the
// container go on.
func (p *Process) startInit(ctx context.Context) error {
	d := p.task.c.d
	return p.task.c.change(ctx, func(ctx context.Context) error {
		if err := p.transition("start", starting); err != nil {
			return err
		}
		defer p.finishEarly()
		if p.task.record.Restore != nil {
			if err := p.restore(ctx); err != nil {
				p.revertStart(created)
				return err
			}
		} else if err := p.task.start(ctx); err != nil {
			if p.task.loadStatus(context.WithoutCancel(ctx)) != running {
				p.revertStart(created)
				return p.task.classify(err)
			}
			d.log.WithError(err).WithField("process",
				p.String()).Warn("the OCI runtime failed after it had started the container; the container runs on")
		}
		p.started(runtime.TaskStartEventTopic, &events.TaskStart{ContainerID: p.task.c.id, Pid: p.Pid()})
		return nil
	})
}

// start lets the init process run what it was made for.
func (t *containerTask) start(ctx context.Context) error {
	if t.record.StartsDirectly {
		_, s := span.Start(ctx, "release")
		err := t.record.Runtime.StartDirectly(ctx, t.c.id, func() bool { return !t.init.isOver() }, t.init.holdStart)
		t.init.releaseStart()
		s.End(err)
		if !errors.Is(err, ociruntime.ErrNotStarted) {
			return err
		}
	}
	return t.record.Runtime.Start(ctx, t.c.id, t.init.dir)
}

// Pid is the pid as events have it.
func (p *Process) Pid() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint32(p.pid)
}

// revertStart takes a failed start back. A process whose exit became known in the meantime has ended instead.
func (p *Process) revertStart(to status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == starting {
		p.status = to
	}
}

// started tells that a process runs.
func (p *Process) started(topic string, event any) {
	d := p.task.c.d
	if err := statefile.Write(p.file("running"), nil); err != nil {
		d.log.WithError(err).WithField("process", p.String()).Error("cannot record that a process runs")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == starting {
		p.status = running
		d.publish(p.task.c.ns, topic, event)
	}
}

// AddExec registers an exec with the task of an init process. The warnings tell what the exec asked for and gets less
// of.
func (p *Process) AddExec(ctx context.Context, r *tasks.ExecProcessRequest) (warnings []string, err error) {
	t, d := p.task, p.task.c.d
	d.prepareMigration()
	if err := ValidID("process", r.ExecID); err != nil {
		return nil, err
	}
	spec, err := ocispec.ParseProcess(r.Spec.GetValue(), r.Terminal)
	if err != nil {
		return nil, err
	}
	if err := checkStreams(processRecord{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr}); err != nil {
		return nil, err
	}
	if warnings = d.host.Clamp(spec); warnings != nil {
		d.log.WithField("container", t.c.id).Warn(strings.Join(warnings, "; "))
	}
	return warnings, t.c.change(ctx, func(context.Context) (err error) {
		if err := t.requireRunning("add process to"); err != nil {
			return err
		}
		p := newProcess(t, r.ExecID, processRecord{
			Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal, Spec: spec, Asked: time.Now(),
		}, added)
		if err := t.addExec(p); err != nil {
			return err
		}
		var back undo
		defer back.unless(&err)
		back.add(func() { t.removeExec(p) })
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return err
		}
		if err := statefile.WriteJSON(p.file("process.json"), p.record); err != nil {
			return err
		}
		d.publish(t.c.ns, runtime.TaskExecAddedEventTopic, &events.TaskExecAdded{ContainerID: t.c.id, ExecID: p.exec})
		return nil
	})
}

// requireRunning refuses what only a running init process allows.
func (t *containerTask) requireRunning(action string) error {
	t.init.mu.Lock()
	defer t.init.mu.Unlock()
	if t.init.status != running {
		return t.init.wrongStatusLocked(action)
	}
	return nil
}

// startExec runs a registered exec. After a failure it is as it was before.
func (p *Process) startExec(ctx context.Context) error {
	return p.task.c.change(ctx, func(ctx context.Context) error {
		if err := p.task.requireExec(ctx); err != nil {
			return err
		}
		if err := p.transition("start", starting); err != nil {
			return err
		}
		defer p.finishEarly()
		if err := p.runExec(ctx); err != nil {
			p.undoStart()
			p.revertStart(added)
			return p.task.classify(err)
		}
		return nil
	})
}

func (p *Process) runExec(ctx context.Context) error {
	t := p.task
	err := p.launch(ctx,
		func(a ociruntime.Launch) error { return t.record.Runtime.Exec(ctx, t.c.id, *p.record.Spec, a) }, nil)
	if err != nil {
		return err
	}
	p.started(runtime.TaskExecStartedEventTopic,
		&events.TaskExecStarted{ContainerID: t.c.id, ExecID: p.exec, Pid: p.Pid()})
	return nil
}

// undoStart undoes what a failed start of an exec, or a failed restore, has left. A process that runs all the same is
// killed.
func (p *Process) undoStart() {
	d := p.task.c.d
	if _, _, known := p.identity(); !known {
		p.findHalfMade()
	}
	var errs []error
	if err := p.killHalfMade(); !errdefs.IsNotFound(err) {
		errs = append(errs, err)
	}
	p.mu.Lock()
	term := p.term
	p.pid, p.start, p.term = 0, 0, nil
	p.mu.Unlock()
	if term != nil {
		term.Close()
	}
	p.releaseStreams("")
	for _, name := range []string{"pid", ociruntime.SandboxPidFile, "start", "running"} {
		if err := os.Remove(filepath.Join(p.dir, name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		d.log.WithError(err).WithField("process",
			p.String()).Error("cannot remove all that the failed start of a process left")
	}
}

// killHalfMade kills a process whose start failed, if there is one. For an exec inside of a sandbox it also kills the
// waiter.
func (p *Process) killHalfMade() error {
	pid, start, ok := p.identity()
	if statefile.Exists(p.file(ociruntime.SandboxPidFile)) {
		ctx, cancel := context.WithTimeout(context.Background(), runtimeTimeout)
		defer cancel()
		if err := p.signalInner(ctx, pid, start, proc.KillSignal); err != nil {
			return err
		}
	}
	if !ok || start == 0 {
		return nil
	}
	return proc.Signal(pid, start, proc.KillSignal)
}
