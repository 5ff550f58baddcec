package engine

import (
	"context"
	"errors"
	"time"

	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/retry"
)

// awaitRestart starts a container again at its deadline, unless something else
// happens to it before.
func (e *Engine) awaitRestart(o *task) {
	r := o.Record()
	if r.RestartAt.IsZero() || r.Running() {
		return
	}
	e.background.Go(func() {
		ctx, cancel := context.WithDeadlineCause(e.background.Context(), r.RestartAt, errRestartDue)
		defer cancel()
		err := o.Await(ctx, otherThan(r.RestartAt))
		if err == nil || !errors.Is(context.Cause(ctx), errRestartDue) {
			return
		}
		e.insistOnRestart(o, r.RestartAt)
	})
}

// otherThan tells whether a restart that was planned for a time isn't any more.
func otherThan(planned time.Time) func(containers.View) bool {
	return func(v containers.View) bool { return v.Gone || v.Record.RestartAt != planned }
}

// The delays between tries to restart a container whose restart was planned, and could not begin: the runtime daemon may
// be away.
const (
	firstRestartRetry   = 100 * time.Millisecond
	longestRestartRetry = 10 * time.Second
)

// insistOnRestart does a restart that is due until it was tried, which changes the plan, or something else has changed
// it, or the engine ends.
func (e *Engine) insistOnRestart(o *task, planned time.Time) {
	for delay := retry.New(firstRestartRetry, longestRestartRetry); ; {
		err := e.restartDue(e.background.Context(), o, planned)
		if err == nil || e.background.Ended() {
			return
		}
		if delay.First() {
			log.WithError(err).WithField("container", o.ID).Warn(
				"a restart of the container, by its restart policy or after a stop, has failed; it is tried again as the policy says")
		}
		ctx, cancel := context.WithTimeout(e.background.Context(), delay.Next())
		err = o.Await(ctx, otherThan(planned))
		cancel()
		if err == nil {
			return
		}
	}
}

var errRestartDue = errors.New("the restart is due")

// restartDue does the restart that was planned for a time.
func (e *Engine) restartDue(ctx context.Context, o *task, planned time.Time) error {
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	r := o.Record()
	switch {
	case r.RestartAt != planned || r.Running() || o.View().Gone:
		return nil
	case r.Status == record.StatusRestarting:
		return e.startLocked(ctx, o, "")
	}
	// A user's, which an earlier engine had not seen through.
	if err := e.stop(ctx, o); err != nil {
		return err
	}
	return e.restartByUser(ctx, o)
}

// endRestarts writes down that a user ends the container, before it is done: no
// policy starts it again then, whichever engine sees its exit. A start that is
// under way is let through, for the caller to end.
func (e *Engine) endRestarts(ctx context.Context, o *task) error {
	if !o.Record().MayRestart() {
		return nil
	}
	if err := e.noRestart(ctx, o); err != nil {
		return err
	}
	return o.AwaitStart(ctx)
}

// noRestart writes down that a user ends this run.
func (e *Engine) noRestart(ctx context.Context, o *task) error {
	_, _, err := o.Commit(ctx, containers.Change{Mutate: func(r *record.Record) error {
		r.EndRestarts(time.Time{})
		return nil
	}})
	return err
}

// startByUser forgets what the restart policy knows of earlier runs.
func (e *Engine) startByUser(ctx context.Context, o *task, from string) error {
	if r := o.Record(); r.RestartCount == 0 && !r.Stopped && r.Stop == nil {
		return e.startLocked(ctx, o, from)
	}
	_, _, err := o.Commit(ctx, containers.Change{Mutate: func(r *record.Record) error {
		if !r.Running() {
			r.RestartCount, r.RestartDelay, r.Stopped, r.Stop = 0, 0, false, nil
		}
		return nil
	}})
	if err != nil {
		return err
	}
	return e.startLocked(ctx, o, from)
}
