package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ContainerRemove removes a container; a running one with Force only.
func (e *Engine) ContainerRemove(ctx context.Context, ref string, opts RemoveOptions) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	if opts.Force {
		if err := e.endRestarts(ctx, o); err != nil {
			return containers.IgnoreGone(err)
		}
		if err := e.endForRemoval(ctx, o); err != nil {
			return err
		}
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	if o.View().Gone { // removed while this call waited: that was what it wanted
		return nil
	}
	if opts.Force { // it may have been started while this call waited
		if err := e.endForRemoval(ctx, o); err != nil {
			return err
		}
	}
	if o.View().Gone {
		return nil
	}
	if r := o.Record(); r.Up() {
		return classed.Errorf(errdefs.ErrConflict, "cannot remove container %q: container is %s: stop the container before removing or force remove", r.Name, r.Status)
	}
	return e.removeLocked(ctx, o, opts.Volumes)
}

func (e *Engine) endForRemoval(ctx context.Context, o *task) error {
	r := o.Record()
	if r.Status == record.StatusRestarting {
		return containers.IgnoreGone(e.noRestart(ctx, o))
	}
	if !r.Running() {
		return nil
	}
	return containers.IgnoreGone(e.kill(ctx, o, r.Generation))
}

// removeLocked removes a container that doesn't run; the caller has its
// operation lock. Who waits for the removal learns of its failure too. Anonymous volumes go along if volumes says so, and
// with a container that is removed after its exit.
func (e *Engine) removeLocked(ctx context.Context, o *task, volumes bool) error {
	err := e.tryRemoval(ctx, o, volumes)
	if err != nil {
		o.Change(func() { o.FailedRemovals, o.RemovalError = o.FailedRemovals+1, err })
	}
	return err
}

// tryRemoval writes the intent first: a removal that died in the middle is
// finished at the next boot, and every step can be repeated.
func (e *Engine) tryRemoval(ctx context.Context, o *task, volumes bool) error {
	if l := o.endingIO(); l != nil {
		l.Abandon()
	}
	if err := e.cleaned(ctx, o); err != nil {
		return err
	}
	if err := e.client.ClearLeftover(o.ID); err != nil {
		return err // the next engine would not know of it
	}
	if o.Record().Unreadable() != nil {
		if err := e.deleteUnreadable(ctx, o); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout) // the engine's end waits for it
	defer cancel()
	_, _, err := o.Commit(ctx, containers.Change{Mutate: func(r *record.Record) error {
		if r.Up() {
			return classed.Errorf(errdefs.ErrConflict, "container %s is %s", r.ID, r.Status)
		}
		r.Status, r.RestartAt = record.StatusRemoving, time.Time{}
		r.RemoveVolumes = volumes || r.HostConfig.AutoRemove
		return nil
	}})
	if err != nil {
		return err
	}
	return e.finishRemoval(ctx, o, "destroy")
}

func (o *task) endingIO() *stdio.IO {
	o.LockState()
	defer o.UnlockState()
	return o.ending
}

// removeTimeout bounds a removal that nobody waits for any more.
const removeTimeout = 2 * time.Minute

// forget removes what a failed creation left. There is no event: the creation
// had none.
func (e *Engine) forget(ctx context.Context, o *task) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	return e.finishRemoval(ctx, o, "")
}

func (e *Engine) finishRemoval(ctx context.Context, o *task, action string) error {
	if err := o.endIO(); err != nil {
		return err
	}
	if err := o.endCopies(ctx, 0); err != nil {
		return err
	}
	_, s := span.Start(ctx, "snapshot")
	err := e.images.RemoveRootfs(ctx, o.ID)
	s.End(err)
	if err != nil {
		return fmt.Errorf("remove root filesystem: %w", err)
	}
	if err := e.unshare(o.ID); err != nil {
		return err // others may share what is mounted in the directory
	}
	if err := removeDir(e.containerDir(o.ID)); err != nil {
		return err
	}
	var r *record.Record
	err = e.store.Update(ctx, func(tx *store.Tx) (err error) {
		r, err = record.Load(tx, o.ID)
		if err != nil {
			return err
		}
		if err := e.resources.Forget(tx, r); err != nil {
			return err
		}
		r.Delete(tx)
		e.DeleteUnread(tx, o.ID)
		if action == "" {
			return nil
		}
		seq := tx.Append(containers.Event(r, containers.Change{Action: action}))
		return record.KeepExit(tx, r, seq, e.store.Oldest())
	})
	if err != nil {
		return err
	}
	e.registry.Remove(o.Container, o.Record().Name)
	e.tasks.remove(o.ID)
	e.processes.Remove(o.ID, libcontainerd.InitProcess)
	o.Change(func() { o.Gone = true })
	if err := e.resources.Forgotten(ctx, r); err != nil {
		log.WithError(err).WithField("container", o.ID).Error(
			"cannot remove all that belonged to a removed container; the next engine tries again")
	}
	return nil
}

// removeDir removes a container's directory. One that was never made is no
// error, not even on a filesystem that has become read-only.
func removeDir(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove container directory: %w", err)
	}
	return nil
}
