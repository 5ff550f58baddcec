package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// AttachStreams takes the streams of a process that is about to start.
func (e *Engine) AttachStreams(_ context.Context, containerID, processID string, s libcontainerd.Streams) error {
	o, err := e.find(containerID)
	if err != nil {
		return err
	}
	if isProbe(processID) {
		p := o.probeOf(processID)
		if p == nil {
			return classed.Errorf(errdefs.ErrNotFound, "container %s has no process %s", o.ID, processID)
		}
		p.attach(s)
		return nil
	}
	l, err := o.ioOf(processID)
	if err != nil {
		return err
	}
	l.Attach(s)
	return nil
}

func (o *task) ioOf(processID string) (*stdio.IO, error) {
	o.LockState()
	defer o.UnlockState()
	if processID == libcontainerd.InitProcess {
		if o.io != nil {
			return o.io, nil
		}
	} else if x := o.execs[processID]; x != nil {
		return x.io, nil
	}
	return nil, classed.Errorf(errdefs.ErrNotFound, "container %s has no process %s", o.ID, processID)
}

// StateChanged commits what happened to a container. It is called in order for
// each container, and again where it fails.
func (e *Engine) StateChanged(ctx context.Context, ev libcontainerd.Event) error {
	o, err := e.find(ev.ContainerID)
	if err != nil {
		return nil // removed meanwhile
	}
	switch ev.Type {
	case libcontainerd.EventStart:
		return e.onStart(ctx, o, ev)
	case libcontainerd.EventExit:
		return e.onExit(ctx, o, ev)
	case libcontainerd.EventOOM:
		_, _, err = o.Commit(ctx, containers.Change{
			Mutate: func(r *record.Record) error { r.OOMKilled = true; return nil }, Action: "oom", Recovered: ev.Recovered,
		})
	case libcontainerd.EventPaused:
		o.freezeProbe(true)
		err = e.onFrozen(ctx, o, ev, record.StatusPaused, "pause")
	case libcontainerd.EventResumed:
		o.freezeProbe(false)
		err = e.onFrozen(ctx, o, ev, record.StatusRunning, "unpause")
	case libcontainerd.EventExecStarted:
		return e.onExecStarted(ctx, o, ev)
	case libcontainerd.EventExitProcess:
		return e.onExecExit(ctx, o, ev)
	case libcontainerd.EventExecAdded, libcontainerd.EventRestore:
		// exec_create is the event of the first. The second needs none.
	}
	return err
}

func (e *Engine) onStart(ctx context.Context, o *task, ev libcontainerd.Event) error {
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
		Action: "start", Recovered: ev.Recovered, Attributes: func(*record.Record) map[string]string { return warningAttributes(ev) },
	})
	if err == nil {
		e.watchHealth(o)
	}
	return err
}

// warningAttributes are those of a start whose process got less than it was to have.
func warningAttributes(ev libcontainerd.Event) map[string]string {
	if ev.Warnings == nil {
		return nil
	}
	return map[string]string{"warning": strings.Join(ev.Warnings, "; ")}
}

func (e *Engine) onFrozen(ctx context.Context, o *task, ev libcontainerd.Event, to record.Status, action string) error {
	_, _, err := o.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error {
			if r.Running() {
				r.Status = to
			}
			return nil
		},
		Action: action, Recovered: ev.Recovered,
	})
	return err
}

// onExit commits the exit. Waiters and subscribers learn of it when the last
// output is in the log: DrainStreams comes next.
func (e *Engine) onExit(ctx context.Context, o *task, ev libcontainerd.Event) error {
	r, seq, err := o.Commit(ctx, containers.Change{
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
	o.Change(func() { o.unannounced = &unannounced{record: r, seq: seq} })
	return nil
}

// unannounced is an exit that is committed and not announced: the output is being drained.
type unannounced struct {
	record *record.Record
	seq    uint64
}

// DrainStreams waits until the last output of an ended process is in its log,
// and announces the exit then. Where ctx ends first, the engine is going down and
// the next one does both.
func (e *Engine) DrainStreams(ctx context.Context, containerID, processID string) error {
	o, err := e.find(containerID)
	if err != nil {
		return nil // removed meanwhile
	}
	if isProbe(processID) {
		if p := o.probeOf(processID); p != nil {
			p.readers.Wait() // its outputs are at their end, or closed when the engine goes down
		}
		return nil
	}
	l, err := o.ioOf(processID)
	if err == nil {
		if err := l.Drained(ctx); errors.Is(err, stdio.ErrStalled) {
			log.WithField("container", o.ID).Warn("a process has ended, and the disk does not take its last output")
		} else if err != nil {
			return err
		}
	}
	if processID == libcontainerd.InitProcess {
		e.announceExit(ctx, o)
	} else {
		e.endExec(o, processID)
	}
	return err
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

// cleanUp frees what a run held: the record at the runtime daemon and the raw
// output.
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
	err = errors.Join(err, e.abandonExecs(o), e.sweepExecs(ctx, o))
	s.End(err)
	if err != nil && !e.background.Ended() {
		log.WithError(err).WithField("container", o.ID).Error("cannot clean up after the container's exit")
	}
}

// cleanUpTimeout bounds the deletion of an ended task.
const cleanUpTimeout = 2 * time.Minute

// The delays between tries of the removal that follows an exit: twice as long
// each time.
const (
	firstRemovalDelay   = 100 * time.Millisecond
	longestRemovalDelay = 30 * time.Second
)

// autoRemove removes a container after its exit, and tries again as long as that
// fails: nobody else would. It ends when the container is gone or was started
// again, or with the engine.
func (e *Engine) autoRemove(o *task) {
	for delay := firstRemovalDelay; ; delay = min(2*delay, longestRemovalDelay) {
		err := e.tryAutoRemove(o)
		if err == nil || e.background.Ended() {
			return
		}
		if delay == firstRemovalDelay {
			log.WithError(err).WithField("container", o.ID).Error("cannot remove the container after its exit; it is tried again")
		}
		ctx, cancel := context.WithTimeout(e.background.Context(), delay)
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
// start is written down there is nothing to add to: onStart does it.
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
		log.WithError(err).WithField("container", o.ID).Warn("a restart of the engine would open the container's stdin again")
	}
}
