package libcontainerd

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// DeleteOptions are the options of Delete.
type DeleteOptions struct {
	// Force kills a container that runs, and then deletes it.
	Force bool
}

// Delete deletes the container's record at the daemon, and removes the container from the client. Its id is free
// then. The container must be created or stopped, unless Force is set. Delete waits until the backend has taken the
// last exit and the last task is deleted.
//
// Errors: FailedPrecondition in any other status; NotFound if the container was deleted already; those of the
// daemon; the cause of ctx. After an error the container still exists, and Delete can be called again; with Force
// its processes may be killed by then.
func (ctr *Container) Delete(ctx context.Context, opts DeleteOptions) error {
	if opts.Force {
		ctr.addForcedDelete(1)
		defer ctr.addForcedDelete(-1)
		if err := ctr.end(ctx); err != nil {
			return ctr.failed("delete", err)
		}
	}
	was, err := ctr.beginDelete(ctx, opts)
	if err != nil {
		return err
	}
	err = ctr.deleteRecord(ctx)
	if r, ok := ctr.client.stdio.(StreamRemover); ok && err == nil && !ctr.client.options.noClean {
		if err := r.RemoveStreams(ctx, ctr.id); err != nil {
			ctr.client.logOf(ctr.id, InitProcess).Warn("cannot remove the streams of a deleted container; they are left",
				"error", err)
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

// deleteRecord deletes the container's record at the daemon, after the leftovers of failed starts. A daemon that
// refuses since the container has a task has completed a create whose answer nobody got, after its leftovers were
// deleted: that task is another leftover.
func (ctr *Container) deleteRecord(ctx context.Context) error {
	if err := ctr.sweep(ctx); err != nil {
		return err
	}
	err := ctr.client.daemon.DeleteContainer(ctx, ctr.id)
	if errdefs.IsFailedPrecondition(err) {
		ctr.mu.Lock()
		ctr.rec.addLeftover(InitProcess)
		ctr.mu.Unlock()
		if err := ctr.sweep(ctx); err != nil {
			return err
		}
		err = ctr.client.daemon.DeleteContainer(ctx, ctr.id)
	}
	return ignoreNotFound(err)
}

// addForcedDelete counts the forced deletes in progress. Meanwhile other requests may neither start nor delete the
// container.
func (ctr *Container) addForcedDelete(n int) {
	ctr.mu.Lock()
	ctr.rec.forcedDeletes += n
	ctr.mu.Unlock()
}

// allowFree returns an error for a request that needs a container without a process.
func (r *record) allowFree(action string) error {
	if err := r.allow(action, StatusCreated, StatusStopped); err != nil {
		return err
	}
	if r.forcedDeletes > 0 {
		return fmt.Errorf("cannot %s container %q: it is being deleted: %w", action, r.id, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// end kills the container if it runs, and waits until the backend has taken the exit.
func (ctr *Container) end(ctx context.Context) error {
	init, err := ctr.living("end", InitProcess)
	if err != nil {
		return nil // the container has no process
	}
	return ctr.killAndWait(ctx, init)
}

// thawUntil resumes a killed container again and again until its exit is known. The container may be paused when it
// is killed, or later by a request that was in progress.
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
		if _, err := ctr.thaw(ctx); err != nil {
			ctr.client.logOf(ctr.id, InitProcess).Debug("cannot resume a killed container; trying again", "error", err)
			_ = delay.Wait(pending)
		}
	}
	if init.live.Err() == nil {
		return fmt.Errorf("the container was killed and did not end: %w", context.Cause(ctx))
	}
	return nil
}

// watchStatus returns the status, and a channel that is closed when it changes.
func (ctr *Container) watchStatus() (Status, <-chan struct{}) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if ctr.rec.statusChanged == nil {
		ctr.rec.statusChanged = make(chan struct{})
	}
	return ctr.rec.status, ctr.rec.statusChanged
}

// beginDelete sets the status to deleting, and returns the status before.
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
