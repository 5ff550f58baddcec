package engine

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// ContainerWait tells the container's exit code once: when it doesn't run or exits, at
// its next exit, or when it is removed. What it waits for is fixed when it
// returns, so that a start that comes after it can't be missed. For a container
// that was removed it tells the last exit code, by the container's id, as long as
// the event of the removal is kept.
func (e *Engine) ContainerWait(ctx context.Context, ref string, c container.WaitCondition) (<-chan container.WaitResponse, error) {
	o, err := e.find(ref)
	if errdefs.IsNotFound(err) {
		return e.lateWait(ref, c)
	}
	if err != nil {
		return nil, err
	}
	if err := o.awaitSwept(ctx); err != nil {
		return nil, err
	}
	v := o.View()
	var met func(v containers.View) bool
	switch c {
	case container.WaitConditionNotRunning, "":
		exits := v.Announced // an exit is one even where the restart policy starts the container again
		met = func(v containers.View) bool {
			return v.Gone || v.Announced > exits || (!v.Record.Up() && v.Announced == v.Record.Exits)
		}
	case container.WaitConditionNextExit:
		next := v.Record.Exits + 1 // not one that is seen and whose output is being drained
		met = func(v containers.View) bool { return v.Gone || v.Announced >= next }
	case container.WaitConditionRemoved:
		tries := v.FailedRemovals
		met = func(v containers.View) bool { return v.Gone || v.FailedRemovals > tries }
	default:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid condition: %q", c)
	}
	answer := make(chan container.WaitResponse, 1)
	e.clients.Go(func() {
		defer close(answer)
		var at containers.View // a start that comes next must not change it
		err := o.Await(ctx, func(v containers.View) bool {
			at = v
			return met(v)
		})
		if err == nil { // else ctx ended: nobody waits any more
			answer <- waitResponse(c, at)
		}
	})
	return answer, nil
}

// waitResponse is the answer to a wait. Who waited for the removal of a container
// learns why it is still there.
func waitResponse(c container.WaitCondition, v containers.View) container.WaitResponse {
	answer := container.WaitResponse{StatusCode: int64(v.Code)}
	if c == container.WaitConditionRemoved && !v.Gone {
		answer.Error = &container.WaitExitError{Message: v.RemovalError.Error()}
	}
	return answer
}

// lateWait answers a wait for a container that was removed; NotFound where
// nothing is known of it, or where it would have to exit again.
func (e *Engine) lateWait(ref string, c container.WaitCondition) (<-chan container.WaitResponse, error) {
	if c == container.WaitConditionNextExit {
		return nil, record.NotFound(ref)
	}
	var exit *record.RemovedExit
	err := e.store.View(func(s *journal.Snapshot) (err error) {
		exit, err = record.FindRemovedExit(s, e.store.Oldest(), ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	answer := make(chan container.WaitResponse, 1)
	answer <- container.WaitResponse{StatusCode: int64(exit.ExitCode)}
	close(answer)
	return answer, nil
}
