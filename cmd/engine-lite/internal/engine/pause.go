package engine

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/rootfs"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ContainerPause freezes a running container.
func (e *Engine) ContainerPause(ctx context.Context, ref string) error {
	return e.freeze(ctx, ref, record.StatusRunning, (*libcontainerd.Container).Pause)
}

// ContainerUnpause thaws a paused container.
func (e *Engine) ContainerUnpause(ctx context.Context, ref string) error {
	return e.freeze(ctx, ref, record.StatusPaused, (*libcontainerd.Container).Resume)
}

func (e *Engine) freeze(ctx context.Context, ref string, from record.Status, do func(*libcontainerd.Container, context.Context) error) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	ctx, free := e.background.Outlive(ctx)
	defer free()
	r := o.Record()
	if r.Status != from {
		return notFrozen(r, from)
	}
	ctr, err := o.Live()
	if err != nil {
		return err
	}
	if r.FrozenByCommit() { // a commit of an earlier engine, which must not end the user's pause
		if err := rootfs.ForgetFreeze(ctx, o.Container); err != nil {
			return err
		}
	}
	return do(ctr, ctx)
}

// notFrozen says why a container cannot be paused or unpaused, in Docker's words. from is the state that it takes.
func notFrozen(r *record.Record, from record.Status) error {
	words := "container %s is not running"
	switch {
	case from == record.StatusPaused:
		words = "Container %s is not paused"
	case r.Status == record.StatusPaused:
		words = "container %s is already paused"
	case r.Status == record.StatusRestarting:
		words = "container %s is restarting, wait until the container is running"
	}
	return classed.Errorf(errdefs.ErrConflict, words, r.ID)
}
