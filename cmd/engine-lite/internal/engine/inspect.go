package engine

import (
	"context"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logdriver"
)

// ContainerInspect tells all that is known of a container. It never waits for
// the container.
func (e *Engine) ContainerInspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error) {
	o, err := e.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	r := o.Record()
	answer := inspect.Container(r, inspect.Place{
		Dir: e.containerDir(r.ID), LogPath: logdriver.ShownPath(r, e.containerDir(r.ID)), Snapshotter: e.images.Snapshotter(),
		Runtime: e.opts.Runtime, ExecIDs: e.ExecIDs(r.ID), Source: e.mountSource,
	})
	if size {
		written, total, err := e.images.Usage(ctx, r.ID)
		if err != nil {
			return container.InspectResponse{}, err
		}
		answer.SizeRw, answer.SizeRootFs = &written, &total
	}
	return answer, nil
}
