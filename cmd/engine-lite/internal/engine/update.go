package engine

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/request"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// checkUpdate refuses what is wrong whatever the container has.
func checkUpdate(req container.UpdateConfig) error {
	h, err := request.Update(&record.HostConfig{}, req)
	if err != nil {
		return err
	}
	h.MemorySwap = 0 // whether it fits depends on the container's memory limit
	_, err = spec.Limits(h.Resources)
	return err
}

// ContainerUpdate changes limits and restart policy of a container, also while it runs, and returns warnings. The limits
// of a running container change first, and the record after that: an engine that is killed between the two leaves limits
// that hold until the container's next start. Errors: Conflict for a container that is being removed, and those of
// [request.Update].
func (e *Engine) ContainerUpdate(ctx context.Context, ref string, req container.UpdateConfig) ([]string, error) {
	warnings := request.Discard(&req.Resources, e.requestHost())
	if err := checkUpdate(req); err != nil {
		return nil, err
	}
	o, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	if err := o.Lock(ctx); err != nil {
		return nil, err
	}
	defer o.Unlock()
	r := o.Record()
	if err := r.CheckReadable(); err != nil {
		return nil, err
	}
	if r.Status == record.StatusRemoving {
		return nil, classed.Errorf(errdefs.ErrConflict, "Cannot update container %s: container is marked for removal and cannot be \"update\"", r.ID)
	}
	changed := *r
	if changed.HostConfig, err = request.Update(r.HostConfig, req); err != nil {
		var class classed.Class
		if !errors.As(errdefs.Resolve(err), &class) {
			return nil, err
		}
		return nil, classed.Errorf(class, "Cannot update container %s: %v", r.ID, err)
	}
	limits, err := spec.Limits(changed.HostConfig.Resources)
	if err != nil {
		return nil, err
	}
	if err := spec.Check(&changed); err != nil {
		return nil, err
	}
	if err := e.store.Room(ctx); err != nil { // before the kernel has limits that could not be written down
		return nil, err
	}
	ctx, free := e.background.Outlive(ctx)
	defer free()
	if r.Running() && !request.SameLimits(r.HostConfig, changed.HostConfig) {
		ctr, err := o.Live()
		if err != nil {
			return nil, err
		}
		if limits.BlockIO, err = spec.ChangedBlockIO(r.HostConfig.Resources, changed.HostConfig.Resources); err != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Cannot update container %s: %v", r.ID, err)
		}
		if err := ctr.Update(ctx, limits); err != nil {
			return nil, err
		}
	}
	_, _, err = o.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error { r.HostConfig = changed.HostConfig; return nil }, Action: "update",
	})
	return warnings, err
}
