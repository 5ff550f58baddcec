package libcontainerd

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// DeleteOptions say how a container is deleted.
type DeleteOptions struct {
	// Force ends a living container first.
	Force bool
}

// Delete deletes the container at the daemon, and from this client: its id is
// free then. It must be created or stopped, unless it is forced; what its last
// task left is deleted first, and a callback that doesn't take the exit delays
// it. After an error the container has the status that it had, without its
// processes if it was forced, and Delete can be repeated.
func (ctr *Container) Delete(ctx context.Context, opts DeleteOptions) error {
	if opts.Force {
		ctr.doom(1)
		defer ctr.doom(-1)
		if err := ctr.end(ctx); err != nil {
			return ctr.failed("delete", err)
		}
	}
	was, err := ctr.beginDelete(ctx, opts)
	if err != nil {
		return err
	}
	err = ctr.sweep(ctx)
	if err == nil {
		err = ignoreNotFound(ctr.client.daemon.DeleteContainer(ctx, ctr.id))
	}
	if r, ok := ctr.client.stdio.(StreamRemover); ok && err == nil && !ctr.client.options.noClean {
		if err := r.RemoveStreams(ctx, ctr.id); err != nil {
			ctr.client.logOf(ctr.id, InitProcess).WithError(err).Warn("streams are left of a deleted container")
		}
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

// doom counts the forced deletes in flight: nobody may start or delete what one
// of them has ended.
func (ctr *Container) doom(n int) {
	ctr.mu.Lock()
	ctr.rec.doomed += n
	ctr.mu.Unlock()
}

// allowFree refuses a request that needs a container without a process.
func (r *record) allowFree(action string) error {
	if err := r.allow(action, StatusCreated, StatusStopped); err != nil {
		return err
	}
	if r.doomed > 0 {
		return fmt.Errorf("cannot %s container %q: it is being deleted: %w", action, r.id, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// end kills the container, if it lives, and waits for its exit.
func (ctr *Container) end(ctx context.Context) error {
	init, err := ctr.living("end", InitProcess)
	if err != nil {
		return nil // it has no process, or none any more
	}
	return ctr.kill9(ctx, init)
}

// thawUntil resumes a killed container, which may be paused now or by a request
// that was in flight, until its end is known.
func (ctr *Container) thawUntil(ctx context.Context, init *process) error {
	pending, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(init.live, stop)()
	for delay := newBackoff(ctr.client.options); pending.Err() == nil; {
		status, moved := ctr.watchStatus()
		if status != StatusPaused {
			select {
			case <-moved:
			case <-pending.Done():
			}
			continue
		}
		if err := ctr.Resume(ctx); err != nil {
			ctr.client.logOf(ctr.id, InitProcess).WithError(err).Debug("a killed container was not resumed")
			_ = delay.Wait(pending)
		}
	}
	if init.live.Err() == nil {
		return fmt.Errorf("it was killed and did not end: %w", context.Cause(ctx))
	}
	return nil
}

// watchStatus is the status, and what is closed when it changes.
func (ctr *Container) watchStatus() (Status, <-chan struct{}) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if ctr.rec.moved == nil {
		ctr.rec.moved = make(chan struct{})
	}
	return ctr.rec.status, ctr.rec.moved
}

// beginDelete makes the container deleting, and returns what it was.
func (ctr *Container) beginDelete(ctx context.Context, opts DeleteOptions) (was Status, err error) {
	for {
		ctr.mu.Lock()
		err := ctr.rec.allowFree("delete")
		if opts.Force {
			err = ctr.rec.allow("delete", StatusCreated, StatusStopped)
		}
		if err != nil {
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
