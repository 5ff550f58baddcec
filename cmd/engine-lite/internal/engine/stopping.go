package engine

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
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
	if r.Running() && !r.Stop.Sent {
		if err := e.sendStop(ctx, o, r.Stop.Signal); err != nil && !errdefs.IsFailedPrecondition(err) {
			return err
		}
	}
	timeout := time.Duration(-1)
	if !r.Stop.Deadline.IsZero() {
		timeout = max(0, time.Until(r.Stop.Deadline))
	}
	err := o.AwaitExit(ctx, r.Generation, timeout)
	if errors.Is(err, containers.ErrTooLong) {
		err = e.killNow(ctx, o, r.Generation)
	}
	if err != nil {
		return err
	}
	return e.stopped(ctx, o)
}

// sendStop sends the stop signal and writes down that it went out.
func (e *Engine) sendStop(ctx context.Context, o *task, sig syscall.Signal) error {
	if err := e.send(ctx, o, sig, true); err != nil {
		return err
	}
	return e.tellStop(ctx, o, containers.Change{
		Mutate: func(r *record.Record) error {
			if r.Stop != nil {
				r.Stop.Sent = true
			}
			return nil
		},
		Action:     "kill",
		Attributes: func(*record.Record) map[string]string { return map[string]string{"signal": strconv.Itoa(int(sig))} },
	})
}

// stopped commits the event of a stopped container. One that runs again has a stop of
// its own, or none.
func (e *Engine) stopped(ctx context.Context, o *task) error {
	return e.tellStop(ctx, o, containers.Change{
		Mutate: func(r *record.Record) error {
			if !r.Running() {
				r.Stop = nil
			}
			return nil
		},
		Action: "stop",
	})
}

// tellStop commits a step of a stop that was done, whether its caller has gone or
// not. A container that was removed meanwhile has none, which is no error.
func (e *Engine) tellStop(ctx context.Context, o *task, c containers.Change) error {
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
		for {
			err := e.finishStop(e.background.Context(), o)
			switch {
			case err == nil, e.background.Ended():
				return
			case !errdefs.IsUnavailable(err):
				log.WithError(err).WithField("container", o.ID).Error("cannot go on with the stop that an earlier engine began")
				return
			}
			retry := time.NewTimer(stopRetry)
			select {
			case <-retry.C:
			case <-e.background.Context().Done():
				retry.Stop()
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
