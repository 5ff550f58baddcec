package engine

import (
	"context"
	"time"

	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/internal/retry"
)

// runOf is the holder of the container's run under way, or of the last one.
func (e *Engine) runOf(o *task) resources.Holder {
	o.LockState()
	defer o.UnlockState()
	return resources.Run(o.ID, o.generation)
}

// holds tells whether a holder may have taken something: it is a run that goes on. A lease ended with its engine. Of a
// container whose record cannot be read, nobody knows the run.
func (e *Engine) holds(h resources.Holder) bool {
	o, err := e.find(h.Container)
	if err != nil {
		return false
	}
	r := o.Record()
	return r.Unreadable() != nil || r.Running() && h == resources.Run(r.ID, r.Generation)
}

// free gives back what others can take, before anyone learns of the run's exit. What cannot be given back within the
// bound is tried again behind it, until the engine ends; the next engine sweeps.
func (e *Engine) free(ctx context.Context, h resources.Holder) {
	err := e.resources.Free(ctx, h)
	if err == nil {
		return
	}
	log.WithError(err).WithField("holder", h).Error(
		"cannot give back all that a container had taken; trying again until that is done")
	e.background.Go(func() {
		for delay := retry.New(firstFreeDelay, longestFreeDelay); delay.Wait(e.background.Context()) == nil; {
			if e.resources.Free(e.background.Context(), h) == nil {
				return
			}
		}
	})
}

// The delays between tries to give back what a run had taken.
const (
	firstFreeDelay   = 100 * time.Millisecond
	longestFreeDelay = 30 * time.Second
)

// giveBack gives back what a start that failed, or a copy, had taken.
func (e *Engine) giveBack(ctx context.Context, h resources.Holder) {
	ctx = context.WithoutCancel(ctx)
	e.free(ctx, h)
	if err := e.resources.Dispose(ctx, h); err != nil {
		log.WithError(err).WithField("holder", h).Error(
			"cannot remove all that a container had taken; the next engine does that")
	}
}
