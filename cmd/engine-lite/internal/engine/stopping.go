package engine

import (
	"context"
	"errors"
	"math"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/signals"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// intend writes down that a user stops the container, and when it is to be started
// again; zero is not at all. Where another stop is under way, the earlier deadline
// counts.
func (e *Engine) intend(ctx context.Context, o *task, sig syscall.Signal, timeout time.Duration, restart time.Time) error {
	s := record.Stop{Signal: sig}
	if timeout >= 0 {
		s.Deadline = time.Now().Add(timeout).UTC()
	}
	_, _, err := o.Commit(ctx, containers.Change{Mutate: func(r *record.Record) error {
		r.EndRestarts(restart)
		if was := r.Stop; was != nil && r.Running() && !was.Deadline.IsZero() && (s.Deadline.IsZero() || was.Deadline.Before(s.Deadline)) {
			s.Deadline = was.Deadline
		}
		r.Stop = &s
		return nil
	}})
	return err
}

// stop does the stop that was written down, from wherever it stands, and commits its event.
func (e *Engine) stop(ctx context.Context, o *task) error {
	r := o.Record()
	if r.Stop == nil {
		return nil // another call has done it
	}
	err := e.end(ctx, o, r.Generation, r.Stop.Deadline, libcontainerd.StopOptions{
		Signal: r.Stop.Signal, Grace: graceUntil(r.Stop.Deadline), AskedBefore: r.Stop.Sent,
	})
	if err != nil {
		return err
	}
	return e.stopped(ctx, o)
}

// graceUntil is the grace of a stop with a deadline; zero is no deadline.
func graceUntil(deadline time.Time) time.Duration {
	if deadline.IsZero() {
		return math.MaxInt64
	}
	return max(1, time.Until(deadline))
}

// kill ends a run with SIGKILL, and waits until the exit is announced.
func (e *Engine) kill(ctx context.Context, o *task, generation uint64) error {
	return e.end(ctx, o, generation, time.Now(), libcontainerd.StopOptions{Grace: -1, AskedBefore: true})
}

// end has the client layer end a run, commits the events of its signals, and waits until the exit is announced. The
// grace ends at the deadline; zero is no deadline. A runtime daemon that goes away after the stop signal has killWait,
// after the deadline, to come again.
func (e *Engine) end(ctx context.Context, o *task, generation uint64, deadline time.Time, opts libcontainerd.StopOptions) error {
	bounded := ctx
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeoutCause(ctx, max(0, time.Until(deadline))+killWait, containers.ErrTooLong)
		defer cancel()
	}
	killed := false
	opts.Signaled = func(ctx context.Context, sig syscall.Signal) error {
		switch {
		case !opts.AskedBefore:
			opts.AskedBefore = true
			return e.commitStopSignal(ctx, o, sig)
		case killed:
			return nil
		}
		killed = true
		return containers.IgnoreGone(o.Notify(ctx, "kill", signalAttributes(sig)))
	}
	err := e.stopRun(bounded, o, deadline, &opts)
	if err == nil {
		err = o.AwaitExit(bounded, generation, -1)
	}
	if err != nil && errors.Is(context.Cause(bounded), containers.ErrTooLong) {
		return classed.Errorf(errdefs.ErrInternal, "container %s did not end within %s after SIGKILL", o.ID, killWait)
	}
	return err
}

// stopRun has the client layer stop the run under way, again where the runtime daemon was away after the stop signal.
func (e *Engine) stopRun(ctx context.Context, o *task, deadline time.Time, opts *libcontainerd.StopOptions) error {
	for {
		ctr, err := o.Live()
		if err != nil {
			return nil // the run has ended
		}
		if !opts.AskedBefore {
			awaitHandler(ctx, o.Record(), opts.Signal, deadline)
			if opts.Grace >= 0 {
				opts.Grace = graceUntil(deadline)
			}
		}
		_, err = ctr.Stop(ctx, *opts)
		if !opts.AskedBefore || !errdefs.IsUnavailable(err) && !errdefs.IsFailedPrecondition(err) {
			return containers.IgnoreGone(err)
		}
		if err := retry.Sleep(ctx, stopRetry); err != nil {
			return err
		}
		if opts.Grace >= 0 {
			opts.Grace = graceUntil(deadline)
		}
	}
}

// awaitHandler waits until the first process can notice a signal, until a stop's deadline at most; zero is none.
func awaitHandler(ctx context.Context, r *record.Record, sig syscall.Signal, deadline time.Time) {
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	signals.AwaitHandler(ctx, r.Pid, sig, r.StartedAt)
}

// commitStopSignal commits that the stop signal went out.
func (e *Engine) commitStopSignal(ctx context.Context, o *task, sig syscall.Signal) error {
	return e.commitStopStep(ctx, o, containers.Change{
		Mutate: func(r *record.Record) error {
			if r.Stop != nil {
				r.Stop.Sent = true
			}
			return nil
		},
		Action:     "kill",
		Attributes: func(*record.Record) map[string]string { return signalAttributes(sig) },
	})
}

// stopped commits the event of a stopped container. One that runs again has a stop of
// its own, or none.
func (e *Engine) stopped(ctx context.Context, o *task) error {
	return e.commitStopStep(ctx, o, containers.Change{
		Mutate: func(r *record.Record) error {
			if !r.Running() {
				r.Stop = nil
			}
			return nil
		},
		Action: "stop",
	})
}

// commitStopStep commits a step of a stop that was done, whether its caller has gone or
// not. A container that was removed meanwhile has none, which is no error.
func (e *Engine) commitStopStep(ctx context.Context, o *task, c containers.Change) error {
	_, _, err := o.Commit(context.WithoutCancel(ctx), c)
	return containers.IgnoreGone(err)
}

// giveUpStop forgets a stop whose user got an error: no later engine
// goes on with it. Where the engine goes down, the next one does.
func (e *Engine) giveUpStop(ctx context.Context, o *task, cause error) error {
	if e.background.Ended() {
		return cause
	}
	_, _, err := o.Commit(context.WithoutCancel(ctx), containers.Change{Mutate: func(r *record.Record) error {
		r.Stop, r.RestartAt = nil, time.Time{}
		return nil
	}})
	return errors.Join(cause, containers.IgnoreGone(err))
}

// resumeStop goes on with a stop, or a restart, in whose middle an earlier engine
// died. Nobody is there to try again: it does so itself while the runtime daemon is
// away.
func (e *Engine) resumeStop(o *task) {
	e.background.Go(func() {
		for ctx := e.background.Context(); ; {
			err := e.finishStop(ctx, o)
			switch {
			case err == nil, e.background.Ended():
				return
			case !errdefs.IsUnavailable(err):
				log.WithError(err).WithField("container", o.ID).Error("cannot go on with the stop that an earlier engine began")
				return
			case retry.Sleep(ctx, stopRetry) != nil:
				return
			}
		}
	})
}

// stopRetry is the pause between two tries to go on with a stop.
const stopRetry = 500 * time.Millisecond

func (e *Engine) finishStop(ctx context.Context, o *task) error {
	if o.Record().RestartAt.IsZero() {
		return e.stop(ctx, o)
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	if o.Record().Stop == nil { // restartDue was here first
		return nil
	}
	if err := e.stop(ctx, o); err != nil {
		return err
	}
	return e.restartByUser(ctx, o)
}
