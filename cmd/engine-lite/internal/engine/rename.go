package engine

import (
	"context"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// ContainerRename gives a container another name.
func (e *Engine) ContainerRename(ctx context.Context, ref, name string) error {
	if strings.Trim(name, "/") == "" {
		return classed.Errorf(errdefs.ErrInvalidArgument, "Neither old nor new names may be empty")
	}
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
	e.registry.Rename(o.Container, old, name)
	return nil
}
