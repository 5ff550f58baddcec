package libcontainerd

import (
	"context"
	"fmt"
)

// DeleteOptions say how a container is deleted.
type DeleteOptions struct {
	// Force ends a living container first.
	Force bool
}

// Delete deletes the container at the daemon, and from this client: its id is
// free then. It must be created or stopped, unless it is forced; what its last
// task left is deleted first, and a callback that doesn't take the exit delays
// it. After an error the container is what it was, and Delete can be repeated.
func (ctr *Container) Delete(ctx context.Context, opts DeleteOptions) error {
	if opts.Force && ctr.Status().Alive() {
		if err := ctr.end(ctx); err != nil {
			return ctr.failed("delete", err)
		}
	}
	was, err := ctr.beginDelete(ctx)
	if err != nil {
		return err
	}
	err = ctr.sweep(ctx)
	if err == nil {
		err = ignoreNotFound(ctr.client.daemon.DeleteContainer(ctx, ctr.id))
	}
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if err != nil {
		ctr.rec.transition(was)
		return ctr.failed("delete", err)
	}
	ctr.rec.transition(StatusDeleted)
	ctr.client.remove(ctr)
	return nil
}

// end kills the container and waits for its exit.
func (ctr *Container) end(ctx context.Context) error {
	init, err := ctr.living("end", InitProcess)
	if err != nil {
		return nil // it ended by itself
	}
	return ctr.kill9(ctx, init)
}

// beginDelete makes the container deleting, and returns what it was.
func (ctr *Container) beginDelete(ctx context.Context) (was Status, err error) {
	for {
		ctr.mu.Lock()
		if err := ctr.rec.allow("delete", StatusCreated, StatusStopped); err != nil {
			ctr.mu.Unlock()
			return 0, err
		}
		init := ctr.rec.init
		if init == nil || init.isSettled() {
			break
		}
		ctr.mu.Unlock()
		if err := init.awaitSettled(ctx); err != nil {
			return 0, fmt.Errorf("cannot delete container %q: %w", ctr.id, err)
		}
	}
	defer ctr.mu.Unlock()
	was = ctr.rec.status
	ctr.rec.transition(StatusDeleting)
	return was, nil
}
