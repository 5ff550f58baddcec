package runtimed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/internal/span"
)

// startTask starts a created init process. One that runs although the OCI runtime failed, which happens when a poststart hook fails or hangs, is started: the OCI runtime
// specification 1.0.2 (runtime.md, lifecycle, 9) has the container go on.
func (d *Daemon) startTask(ctx context.Context, p *process) error {
	return d.change(ctx, p.task.c, func(ctx context.Context) error {
		if err := p.transition("start", starting); err != nil {
			return err
		}
		defer d.settleEarly(p)
		if p.task.record.Restore != nil {
			if err := d.restoreTask(ctx, p); err != nil {
				p.back(created)
				return err
			}
		} else if err := p.task.start(ctx); err != nil {
			if p.task.loadStatus(context.WithoutCancel(ctx)) != running {
				p.back(created)
				return p.task.classify(err)
			}
			d.log.WithError(err).WithField("process", p.String()).Warn("the OCI runtime failed after it had started the container")
		}
		d.started(p, runtime.TaskStartEventTopic, &events.TaskStart{ContainerID: p.task.c.id, Pid: p.livePid()})
		return nil
	})
}

// start lets the init process run what it was made for.
func (t *containerTask) start(ctx context.Context) error {
	if t.record.Releasable {
		_, s := span.Start(ctx, "release")
		err := t.record.Runtime.release(ctx, t.c.id, func() bool { return !t.init.isOver() })
		s.End(err)
		if !errors.Is(err, errNotReleased) {
			return err
		}
	}
	return t.record.Runtime.start(ctx, t.c.id, t.init.dir)
}

// livePid is the pid as events have it.
func (p *process) livePid() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint32(p.pid)
}

// back takes a failed start back. A process whose exit became known in the meantime has ended instead.
func (p *process) back(to status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == starting {
		p.status = to
	}
}

// started tells that a process runs.
func (d *Daemon) started(p *process, topic string, event any) {
	if err := writeFile(p.file("running"), nil); err != nil {
		d.log.WithError(err).WithField("process", p.String()).Error("cannot write down that a process runs")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == starting {
		p.status = running
		d.publish(p.task.c.ns, topic, event)
	}
}

// addExec registers an exec with a task.
func (d *Daemon) addExec(ctx context.Context, t *containerTask, r *tasks.ExecProcessRequest) error {
	d.prepare()
	if err := validID("process", r.ExecID); err != nil {
		return err
	}
	spec, err := parseProcess(r.Spec.GetValue(), r.Terminal)
	if err != nil {
		return err
	}
	if err := checkStreams(processRecord{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr}); err != nil {
		return err
	}
	if warnings := d.host.Clamp(spec); warnings != nil {
		d.log.WithField("container", t.c.id).Warn(strings.Join(warnings, "; "))
		if err := warn(ctx, warnings); err != nil {
			return err
		}
	}
	return d.change(ctx, t.c, func(context.Context) (err error) {
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
		if err := writeJSON(p.file("process.json"), p.record); err != nil {
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
		return t.init.refusedLocked(action)
	}
	return nil
}

// parseProcess reads an exec's process. InvalidArgument for what is none.
func parseProcess(data []byte, terminal bool) (*specs.Process, error) {
	var spec specs.Process
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("cannot read the process's spec: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	if len(spec.Args) == 0 {
		return nil, fmt.Errorf("the process's spec has nothing to run: %w", errdefs.ErrInvalidArgument)
	}
	if spec.Terminal != terminal {
		return nil, fmt.Errorf("terminal is %t in the spec and %t in the request: %w", spec.Terminal, terminal, errdefs.ErrInvalidArgument)
	}
	return &spec, nil
}

// startExec runs a registered exec. After a failure it is as it was before.
func (d *Daemon) startExec(ctx context.Context, p *process) error {
	return d.change(ctx, p.task.c, func(ctx context.Context) error {
		if err := p.task.requireExec(ctx); err != nil {
			return err
		}
		if err := p.transition("start", starting); err != nil {
			return err
		}
		defer d.settleEarly(p)
		if err := d.runExec(ctx, p); err != nil {
			d.unwind(p)
			p.back(added)
			return p.task.classify(err)
		}
		return nil
	})
}

func (d *Daemon) runExec(ctx context.Context, p *process) error {
	t := p.task
	err := d.launch(ctx, p, func(a createArgs) error { return t.record.Runtime.exec(ctx, t.c.id, *p.record.Spec, a) }, nil)
	if err != nil {
		return err
	}
	d.started(p, runtime.TaskExecStartedEventTopic, &events.TaskExecStarted{ContainerID: t.c.id, ExecID: p.exec, Pid: p.livePid()})
	return nil
}

// unwind takes back what a failed start of an exec, or a failed restore, has left: a process that runs all the same is killed.
func (d *Daemon) unwind(p *process) {
	if _, _, known := p.identity(); !known {
		d.findHalfMade(p)
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
		term.close()
	}
	d.releaseStreams(p, "")
	for _, name := range []string{"pid", innerPidFile, "start", "running"} {
		if err := os.Remove(filepath.Join(p.dir, name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		d.log.WithError(err).WithField("process", p.String()).Error("a process that could not be started left something behind")
	}
}

// killHalfMade kills a process that nobody waits for, if there is one; of an exec inside of a sandbox also its waiter.
func (p *process) killHalfMade() error {
	pid, start, ok := p.identity()
	if exists(p.file(innerPidFile)) {
		ctx, cancel := context.WithTimeout(context.Background(), runtimeTimeout)
		defer cancel()
		if err := p.signalInner(ctx, pid, start, killSignal); err != nil {
			return err
		}
	}
	if !ok || start == 0 {
		return nil
	}
	return signalProcess(pid, start, killSignal)
}
