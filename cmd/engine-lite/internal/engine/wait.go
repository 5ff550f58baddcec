package engine

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// ContainerWait tells the container's exit code once: when it doesn't run, at
// its next exit, or when it is removed. What it waits for is fixed when it
// returns, so that a start that comes after it can't be missed.
func (e *Engine) ContainerWait(ctx context.Context, ref string, c container.WaitCondition) (<-chan container.WaitResponse, error) {
	o, err := e.roster.find(ref)
	if err != nil {
		return nil, err
	}
	v := o.view()
	var met func(v view) bool
	switch c {
	case container.WaitConditionNotRunning, "":
		met = func(v view) bool { return v.gone || (!v.rec.running() && v.told == v.rec.Exits) }
	case container.WaitConditionNextExit:
		next := v.told + 1
		met = func(v view) bool { return v.gone || v.told >= next }
	case container.WaitConditionRemoved:
		met = func(v view) bool { return v.gone }
	default:
		return nil, refuse(errdefs.ErrInvalidArgument, "invalid condition: %q", c)
	}
	answer := make(chan container.WaitResponse, 1)
	e.clients.Go(func() {
		defer close(answer)
		var code int
		err := o.await(ctx, func(v view) bool {
			code = v.code // a start that comes next must not change it
			return met(v)
		})
		if err == nil { // else ctx ended: nobody waits any more
			answer <- container.WaitResponse{StatusCode: int64(code)}
		}
	})
	return answer, nil
}
