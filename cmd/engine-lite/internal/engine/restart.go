package engine

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	log "github.com/sirupsen/logrus"
)

// The delays between an exit and the restart that follows by policy: twice as
// long each time, from the first again after a run of steadyRun.
const (
	firstRestartDelay   = 100 * time.Millisecond
	longestRestartDelay = time.Minute
	steadyRun           = 10 * time.Second
)

// checkRestartPolicy refuses a policy that isn't one.
func checkRestartPolicy(req container.CreateRequest) error {
	h := req.HostConfig
	if err := container.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return refuse(errdefs.ErrInvalidArgument, "%v", err)
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return refuse(errdefs.ErrInvalidArgument, "can't create 'AutoRemove' container with restart policy")
	}
	return nil
}

// restartsByPolicy tells whether a container that has just ended is to be
// started again.
func (r *record) restartsByPolicy() bool {
	policy := r.HostConfig.RestartPolicy
	switch {
	case r.Stopped:
		return false
	case policy.IsAlways(), policy.IsUnlessStopped():
		return true
	case policy.IsOnFailure():
		return r.shownExitCode() != 0 && (policy.MaximumRetryCount == 0 || r.RestartCount < policy.MaximumRetryCount)
	}
	return false
}

// planRestart makes a container that has ended after a run of this length wait
// for its restart, where its policy says so. The deadline is part of the exit's
// transaction, so that the next engine keeps it.
func (r *record) planRestart(ran time.Duration, now time.Time) {
	if !r.restartsByPolicy() {
		return
	}
	if r.RestartDelay = min(2*r.RestartDelay, longestRestartDelay); r.RestartDelay == 0 || ran >= steadyRun {
		r.RestartDelay = firstRestartDelay
	}
	r.RestartCount++
	r.Status, r.RestartAt = statusRestarting, now.Add(r.RestartDelay).UTC()
}

// awaitRestart starts a container again at its deadline, unless something else
// happens to it before.
func (e *Engine) awaitRestart(o *object) {
	r := o.record()
	if r.RestartAt.IsZero() || r.running() {
		return
	}
	e.background.Go(func() {
		ctx, cancel := context.WithDeadlineCause(e.ctx, r.RestartAt, errRestartDue)
		defer cancel()
		err := o.await(ctx, func(v view) bool { return v.gone || v.rec.RestartAt != r.RestartAt })
		if err == nil || !errors.Is(context.Cause(ctx), errRestartDue) {
			return
		}
		if err := e.restartDue(e.ctx, o, r.RestartAt); err != nil && e.ctx.Err() == nil {
			log.WithError(err).WithField("container", o.id).Warn("the container was not restarted")
		}
	})
}

var errRestartDue = errors.New("the restart is due")

// restartDue does the restart that was planned for a time.
func (e *Engine) restartDue(ctx context.Context, o *object, planned time.Time) error {
	if err := o.lock(ctx); err != nil {
		return err
	}
	defer o.unlock()
	r := o.record()
	switch {
	case r.RestartAt != planned || r.running() || o.view().gone:
		return nil
	case r.Status == statusRestarting:
		return e.startLocked(ctx, o)
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
func (e *Engine) endRestarts(ctx context.Context, o *object) error {
	if o.record().HostConfig.RestartPolicy.IsNone() {
		return nil
	}
	if err := e.noRestart(ctx, o); err != nil {
		return err
	}
	return e.letStart(ctx, o)
}

// letStart waits for a start that may be under way.
func (e *Engine) letStart(ctx context.Context, o *object) error {
	if o.record().running() {
		return nil
	}
	if err := o.lock(ctx); err != nil {
		return err
	}
	o.unlock()
	return nil
}

// endRestarts writes into the record that a user ends this run, and when the
// container is to be started again, in place of what its policy says; zero is not at
// all.
func (r *record) endRestarts(again time.Time) {
	if r.Status == statusRestarting {
		r.Status = statusExited
	}
	r.Stopped = r.Stopped || !r.HostConfig.RestartPolicy.IsNone()
	r.RestartAt = again.UTC()
}

// noRestart writes down that a user ends this run.
func (e *Engine) noRestart(ctx context.Context, o *object) error {
	_, _, err := e.commit(ctx, o, change{mutate: func(r *record) error {
		r.endRestarts(time.Time{})
		return nil
	}})
	return err
}

// startByUser forgets what the restart policy knows of earlier runs.
func (e *Engine) startByUser(ctx context.Context, o *object) error {
	if r := o.record(); r.RestartCount == 0 && !r.Stopped && r.Stop == nil {
		return e.startLocked(ctx, o)
	}
	_, _, err := e.commit(ctx, o, change{mutate: func(r *record) error {
		if !r.running() {
			r.RestartCount, r.RestartDelay, r.Stopped, r.Stop = 0, 0, false, nil
		}
		return nil
	}})
	if err != nil {
		return err
	}
	return e.startLocked(ctx, o)
}
