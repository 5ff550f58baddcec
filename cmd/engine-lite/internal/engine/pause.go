package engine

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ContainerPause freezes a running container.
func (e *Engine) ContainerPause(ctx context.Context, ref string) error {
	return e.freeze(ctx, ref, record.StatusRunning, record.StatusPaused, (*libcontainerd.Container).Pause)
}

// ContainerUnpause thaws a paused container.
func (e *Engine) ContainerUnpause(ctx context.Context, ref string) error {
	return e.freeze(ctx, ref, record.StatusPaused, record.StatusRunning, (*libcontainerd.Container).Resume)
}

func (e *Engine) freeze(ctx context.Context, ref string, from, to record.Status, do func(*libcontainerd.Container, context.Context) error) error {
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
		return classed.Errorf(errdefs.ErrConflict, "container %s is not %s, it is %s", r.ID, from, r.Status)
	}
	ctr, err := o.Live()
	if err != nil {
		return err
	}
	if err := do(ctr, ctx); err != nil {
		return err
	}
	return o.Await(ctx, func(v containers.View) bool { return v.Record.Status == to || !v.Record.Running() })
}

// ContainerRename gives a container another name.
func (e *Engine) ContainerRename(ctx context.Context, ref, name string) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	if err := containers.CheckName(name); err != nil {
		return err
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	if err := o.Record().CheckReadable(); err != nil {
		return err
	}
	old := o.Record().Name
	if old == name {
		return classed.Errorf(errdefs.ErrInvalidArgument, "Renaming a container with the same name as its current name")
	}
	_, _, err = o.Commit(ctx, containers.Change{
		Mutate:     func(r *record.Record) error { r.Name = name; return nil },
		Action:     "rename",
		Attributes: func(*record.Record) map[string]string { return map[string]string{"oldName": "/" + old} },
		Also: func(tx *store.Tx, r *record.Record) error {
			if _, err := freeName(tx, name); err != nil {
				return err
			}
			record.Names.Delete(tx, old)
			return record.Names.Put(tx, name, r.ID)
		},
	})
	if err != nil {
		return err
	}
	e.roster.Rename(o.Container, old, name)
	return nil
}
