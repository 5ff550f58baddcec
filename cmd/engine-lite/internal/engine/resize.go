package engine

import (
	"context"
	"strconv"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ContainerResize sets the size of the container's terminal.
func (e *Engine) ContainerResize(ctx context.Context, ref string, height, width uint32) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	ctr, err := o.Live()
	if err != nil {
		return err
	}
	if err := ctr.Resize(ctx, libcontainerd.InitProcess, width, height); err != nil {
		return err
	}
	return o.Notify(ctx, "resize", map[string]string{
		"height": strconv.FormatUint(uint64(height), 10), "width": strconv.FormatUint(uint64(width), 10),
	})
}
