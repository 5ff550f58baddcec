package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// initProcess is the init process of a container: the task's run is its run.
type initProcess struct {
	engine *Engine
	task   *task
}

var _ process.Process = initProcess{}

// Held is the IO of the run under way or being started.
func (p initProcess) Held() (*stdio.IO, error) {
	p.task.LockState()
	defer p.task.UnlockState()
	if p.task.io == nil {
		return nil, process.NotFound(p.task.ID, libcontainerd.InitProcess)
	}
	return p.task.io, nil
}

// Attach takes the streams of the run that is about to start.
func (p initProcess) Attach(s libcontainerd.Streams) error {
	l, err := p.Held()
	if err != nil {
		return err
	}
	l.Attach(s)
	return nil
}

// Started commits the start.
func (p initProcess) Started(ctx context.Context, ev libcontainerd.Event) error {
	o := p.task
	o.LockState()
	generation, l := o.generation, o.io
	o.UnlockState()
	if ev.Warnings != nil {
		log.WithField("container", o.ID).Warn(strings.Join(ev.Warnings, "; "))
	}
	_, _, err := o.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error {
			r.SetStarted(ev.Pid, generation, ev.Time)
			r.StdinClosed = l != nil && l.StdinClosed()
			return nil
		},
		Action: "start", Recovered: ev.Recovered,
		Attributes: func(*record.Record) map[string]string { return process.WarningAttributes(ev) },
	})
	if err == nil {
		p.engine.health.Watch(o.Container)
	}
	return err
}

// Exited commits the exit. Waiters and subscribers learn of the exit when the last output is in the log: Drained comes
// next.
func (p initProcess) Exited(ctx context.Context, ev libcontainerd.Event) error {
	r, seq, err := p.task.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error {
			r.SetExited(ev.Exit.Code, ev.Exit.Unknown, r.OOMKilled || ev.Exit.OOMKilled, exitTime(ev.Exit))
			r.PlanRestart(r.FinishedAt.Sub(r.StartedAt), time.Now())
			return nil
		},
		Action: "die", Attributes: (*record.Record).DieAttributes, Recovered: ev.Recovered, Hold: true,
	})
	if err != nil {
		return err
	}
	p.task.Change(func() { p.task.unannounced = &unannounced{record: r, seq: seq} })
	return nil
}

// Drained waits until the last output is in the log, and announces the exit. A run without an IO has no output.
func (p initProcess) Drained(ctx context.Context) error {
	if l, err := p.Held(); err == nil {
		if err := process.Drain(ctx, p.task.ID, l); err != nil {
			return err
		}
	}
	p.engine.announceExit(ctx, p.task)
	return nil
}

// unannounced is an exit that is committed and not announced: the output is being drained.
type unannounced struct {
	record *record.Record
	seq    uint64
}

// announceExit lets subscribers and waiters go on and starts the clean-up of the run
// that ended.
func (e *Engine) announceExit(ctx context.Context, o *task) {
	var cleanup chan struct{}
	var ended *unannounced
	var ctr *libcontainerd.Container
	var l *stdio.IO
	o.Change(func() {
		ended, o.unannounced = o.unannounced, nil
		if ended == nil {
			return
		}
		ctr, o.Task = o.Task, nil
		l, o.io = o.io, nil
		cleanup, o.ending = o.cleanup, l
		o.AnnounceLocked(ended.record)
	})
	if ended == nil {
		return
	}
	e.store.Release(ended.seq)
	request := span.Of(ctx)
	removed := ended.record.HostConfig.AutoRemove && ended.record.RestartAt.IsZero()
	if removed && l != nil {
		l.Abandon()
	}
	e.background.Go(func() {
		e.cleanUp(span.Within(e.background.Context(), request), o, ctr, l)
		close(cleanup)
		if removed {
			e.autoRemove(o)
		}
		e.awaitRestart(o)
	})
}

// cleanUp frees what a run held: the record at the runtime daemon, the raw output, and shared memory.
func (e *Engine) cleanUp(ctx context.Context, o *task, ctr *libcontainerd.Container, l *stdio.IO) {
	ctx, cancel := context.WithTimeout(ctx, cleanUpTimeout)
	defer cancel()
	ctx, s := span.Start(ctx, "clean-up")
	var err error
	if ctr != nil {
		err = ctr.Delete(ctx, libcontainerd.DeleteOptions{})
	}
	if l != nil {
		err = errors.Join(err, l.EndDrained(e.background.Context()))
	}
	err = errors.Join(err, e.unshare(o.ID), e.AbandonExecs(o.ID), e.sweepExecs(ctx, o))
	s.End(err)
	if err != nil && !e.background.Ended() {
		log.WithError(err).WithField("container", o.ID).Error(
			"cannot delete all that the container's last run left; " +
				"trying again when the container is started or removed")
	}
}

// cleanUpTimeout bounds the deletion of an ended task.
const cleanUpTimeout = 2 * time.Minute

// The delays between tries of the removal that follows an exit.
const (
	firstRemovalDelay   = 100 * time.Millisecond
	longestRemovalDelay = 30 * time.Second
)

// autoRemove removes a container after its exit, and tries again as long as that
// fails: nobody else would. It ends when the container is gone or was started
// again, or with the engine.
func (e *Engine) autoRemove(o *task) {
	for delay := retry.New(firstRemovalDelay, longestRemovalDelay); ; {
		err := e.tryAutoRemove(o)
		if err == nil || e.background.Ended() {
			return
		}
		if delay.First() {
			log.WithError(err).WithField("container", o.ID).Error(
				"cannot remove the container after its exit; trying again until the container is removed")
		}
		ctx, cancel := context.WithTimeout(e.background.Context(), delay.Next())
		_ = o.Await(ctx, func(v containers.View) bool { return v.Gone }) // in time or not, the next try knows
		cancel()
	}
}

func (e *Engine) tryAutoRemove(o *task) error {
	if err := o.Lock(e.background.Context()); err != nil {
		return err
	}
	defer o.Unlock()
	if r := o.Record(); o.View().Gone || r.Up() || !r.RestartAt.IsZero() {
		return nil
	}
	return e.removeLocked(e.background.Context(), o)
}

func exitTime(x libcontainerd.Exit) time.Time {
	if x.Time.IsZero() {
		return time.Now()
	}
	return x.Time
}

// noteStdinClosed writes down that the run's stdin is to be closed. Before the
// start is written down there is nothing to add to: Started does it.
func (e *Engine) noteStdinClosed(o *task, l *stdio.IO) {
	_, _, err := o.Commit(e.background.Context(), containers.Change{Mutate: func(r *record.Record) error {
		o.LockState()
		defer o.UnlockState()
		if !r.Running() || o.io != l {
			return containers.ErrUnchanged
		}
		r.StdinClosed = true
		return nil
	}})
	if err != nil && !errors.Is(err, containers.ErrUnchanged) && !errdefs.IsNotFound(err) && !e.background.Ended() {
		log.WithError(err).WithField("container", o.ID).Warn(
			"cannot record that the container's stdin is closed; the next engine would open it again")
	}
}
