package engine

import (
	"cmp"
	"context"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/internal/classed"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/ps"
)

// ContainerTop lists the container's processes as the host's ps shows them.
func (e *Engine) ContainerTop(ctx context.Context, ref, psArgs string) (container.TopResponse, error) {
	var none container.TopResponse
	o, err := e.find(ref)
	if err != nil {
		return none, err
	}
	ctr, err := o.Live()
	if err != nil {
		return none, classed.Errorf(errdefs.ErrConflict, "container %s is not running", o.ID)
	}
	processes, err := ctr.Processes(ctx)
	if err != nil {
		return none, err
	}
	table, err := ps.Run(ctx, strings.Fields(cmp.Or(psArgs, "-ef")))
	if err != nil {
		return none, err
	}
	var pids []int
	for _, p := range processes {
		pids = append(pids, p.Pid)
	}
	top, err := ps.Pick(table, pids)
	if err != nil {
		return none, err
	}
	return top, o.Notify(ctx, "top", nil)
}
