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
		Also:       p.engine.resources.Started,
	})
	if err == nil {
		p.engine.health.Watch(o.Container)
	}
	return err
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
	err = errors.Join(err, e.resources.Dispose(ctx, e.runOf(o)), e.unshare(o.ID), e.AbandonExecs(o.ID), e.sweepExecs(ctx, o))
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
	return e.removeLocked(e.background.Context(), o, true)
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
