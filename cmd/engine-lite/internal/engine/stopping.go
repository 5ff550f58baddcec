package engine

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// intend writes down that a user stops the container, and when it is to be started
// again; zero is not at all. Where another stop is under way, the earlier deadline
// counts.
func (e *Engine) intend(ctx context.Context, o *object, sig syscall.Signal, timeout time.Duration, restart time.Time) error {
	s := record.Stop{Signal: sig}
	if timeout >= 0 {
		s.Deadline = time.Now().Add(timeout).UTC()
	}
	_, _, err := e.commit(ctx, o, change{mutate: func(r *record.Record) error {
		r.EndRestarts(restart)
		if was := r.Stop; was != nil && r.Running() && !was.Deadline.IsZero() && (s.Deadline.IsZero() || was.Deadline.Before(s.Deadline)) {
			s.Deadline = was.Deadline
		}
		r.Stop = &s
		return nil
	}})
	return err
}

// stop does the stop that was written down, from wherever it stands, and tells of it.
func (e *Engine) stop(ctx context.Context, o *object) error {
	r := o.record()
	if r.Stop == nil {
		return nil // another call has done it
	}
	if r.Running() && !r.Stop.Sent {
		if err := e.sendStop(ctx, o, r.Stop.Signal); err != nil && !errdefs.IsFailedPrecondition(err) {
			return err
		}
	}
	timeout := time.Duration(-1)
	if !r.Stop.Deadline.IsZero() {
		timeout = max(0, time.Until(r.Stop.Deadline))
	}
	err := o.awaitExit(ctx, r.Generation, timeout)
	if errors.Is(err, errTooLong) {
		err = e.killNow(ctx, o, r.Generation)
	}
	if err != nil {
		return err
	}
	return e.stopped(ctx, o)
}

// sendStop sends the stop signal and writes down that it went out.
func (e *Engine) sendStop(ctx context.Context, o *object, sig syscall.Signal) error {
	if err := e.send(ctx, o, sig, true); err != nil {
		return err
	}
	return e.tellStop(ctx, o, change{
		mutate: func(r *record.Record) error {
			if r.Stop != nil {
				r.Stop.Sent = true
			}
			return nil
		},
		action:     "kill",
		attributes: func(*record.Record) map[string]string { return map[string]string{"signal": strconv.Itoa(int(sig))} },
	})
}

// stopped tells that the container was stopped. One that runs again has a stop of
// its own, or none.
func (e *Engine) stopped(ctx context.Context, o *object) error {
	return e.tellStop(ctx, o, change{
		mutate: func(r *record.Record) error {
			if !r.Running() {
				r.Stop = nil
			}
			return nil
		},
		action: "stop",
	})
}

// tellStop commits a step of a stop that was done, whether its caller has gone or
// not. A container that was removed meanwhile has none, which is no error.
func (e *Engine) tellStop(ctx context.Context, o *object, c change) error {
	_, _, err := e.commit(context.WithoutCancel(ctx), o, c)
	return ignoreGone(err)
}

// giveUpStop forgets a stop whose user was told that it failed: no later engine
// goes on with it. Where the engine goes down, the next one does.
func (e *Engine) giveUpStop(ctx context.Context, o *object, cause error) error {
	if e.ctx.Err() != nil {
		return cause
	}
	_, _, err := e.commit(context.WithoutCancel(ctx), o, change{mutate: func(r *record.Record) error {
		r.Stop, r.RestartAt = nil, time.Time{}
		return nil
	}})
	return errors.Join(cause, ignoreGone(err))
}

// resumeStop goes on with a stop, or a restart, in whose middle an earlier engine
// died. Nobody is there to try again: it does so itself while the runtime daemon is
// away.
func (e *Engine) resumeStop(o *object) {
	e.background.Go(func() {
		for {
			err := e.finishStop(e.ctx, o)
			switch {
			case err == nil, e.ctx.Err() != nil:
				return
			case !errdefs.IsUnavailable(err):
				log.WithError(err).WithField("container", o.id).Error("cannot go on with the stop that an earlier engine began")
				return
			}
			retry := time.NewTimer(stopRetry)
			select {
			case <-retry.C:
			case <-e.ctx.Done():
				retry.Stop()
				return
			}
		}
	})
}

// stopRetry is the pause between two tries to go on with a stop.
const stopRetry = 500 * time.Millisecond

func (e *Engine) finishStop(ctx context.Context, o *object) error {
	if o.record().RestartAt.IsZero() {
		return e.stop(ctx, o)
	}
	if err := o.lock(ctx); err != nil {
		return err
	}
	defer o.unlock()
	if o.record().Stop == nil { // restartDue was here first
		return nil
	}
	if err := e.stop(ctx, o); err != nil {
		return err
	}
	return e.restartByUser(ctx, o)
}
