package engine

import (
	"context"
	"errors"
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

// Exited commits the exit. Waiters and subscribers learn of the exit when the last output is in the log: Drained comes
// next.
//
// A daemon that copies output completes the output when its task is deleted. That comes before Drained, and takes as
// long as a shim hangs. So only the exit is written down here, without an event: a die that is held would hold the
// events of all containers. Drained commits the die.
func (p initProcess) Exited(ctx context.Context, ev libcontainerd.Event) error {
	x := record.Ended{
		Code: ev.Exit.Code, Reason: ev.Exit.Unknown, OOMKilled: ev.Exit.OOMKilled, Time: exitTime(ev.Exit),
		Recovered: ev.Recovered,
	}
	if r := p.task.Record(); p.engine.copiesOutput() && r.Running() && r.Unreadable() == nil {
		return p.noteEnded(ctx, x)
	}
	return p.commitDie(ctx, x)
}

// noteEnded writes down how the run has ended. What an earlier engine wrote down counts: the daemon may have forgotten
// the exit since.
func (p initProcess) noteEnded(ctx context.Context, x record.Ended) error {
	_, _, err := p.task.Commit(ctx, containers.Change{Mutate: func(r *record.Record) error {
		if r.EndedRun() != nil {
			return containers.ErrUnchanged
		}
		x.Generation = r.Generation
		r.Ended = &x
		return nil
	}})
	if errors.Is(err, containers.ErrUnchanged) {
		return nil
	}
	return err
}

// commitDie commits the exit that is written down, else x, and its event.
func (p initProcess) commitDie(ctx context.Context, x record.Ended) error {
	if noted := p.task.Record().EndedRun(); noted != nil {
		x = *noted
	}
	r, seq, err := p.task.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error {
			r.SetExited(x.Code, x.Reason, r.OOMKilled || x.OOMKilled, x.Time)
			r.PlanRestart(r.FinishedAt.Sub(r.StartedAt), time.Now())
			return nil
		},
		Action: "die", Attributes: (*record.Record).DieAttributes, Recovered: x.Recovered, Hold: true,
		Also: p.engine.resources.Ended,
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
	if noted := p.task.Record().EndedRun(); noted != nil {
		if err := p.insistOnDie(ctx, *noted); err != nil {
			return err
		}
	}
	p.engine.free(ctx, p.engine.runOf(p.task))
	p.engine.announceExit(ctx, p.task)
	return nil
}

// The delays between tries to commit a die that a disk refuses.
const (
	firstDieDelay   = 100 * time.Millisecond
	longestDieDelay = 5 * time.Second
)

// insistOnDie commits a die for a caller that doesn't try again. An engine that ends tries once more; then the next
// engine commits the die.
func (p initProcess) insistOnDie(ctx context.Context, x record.Ended) error {
	for delay := retry.New(firstDieDelay, longestDieDelay); ; {
		err := p.commitDie(ctx, x)
		if err == nil || errdefs.IsNotFound(err) {
			return err
		}
		if delay.First() {
			log.WithError(err).WithField("container", p.task.ID).Warn("cannot commit the exit of a container; trying again")
		}
		if delay.Wait(p.engine.background.Context()) != nil {
			return err
		}
	}
}

// copiesOutput tells whether the runtime daemon copies output, and completes it when a task is deleted.
func (e *Engine) copiesOutput() bool {
	d, ok := e.daemon.(libcontainerd.Copier)
	return ok && d.CopiesOutput()
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
