package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/containerd/errdefs"
)

// undo is what a creation in several steps has to take back when a later step
// fails: the last first.
type undo []func()

func (u *undo) add(step func()) { *u = append(*u, step) }

func (u *undo) run() {
	for i := len(*u) - 1; i >= 0; i-- {
		(*u)[i]()
	}
}

// bounded is the context of a call that the client makes on its own account,
// whatever became of the request that led to it.
func (c *Client) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.hard, c.options.callTimeout)
}

// undoing is the context of what a failed request takes back, on its caller's
// goroutine: the client's end doesn't end it, lest something be left.
func (c *Client) undoing() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.options.callTimeout)
}

// destroy frees a process at the daemon, and kills it before if need be. There
// being none is what it is for.
func (c *Client) destroy(ctx context.Context, id, process string) error {
	_, err := c.daemon.Delete(ctx, id, process)
	if !errdefs.IsFailedPrecondition(err) {
		return ignoreNotFound(err)
	}
	all := process == InitProcess
	if err := c.daemon.Kill(ctx, id, process, syscall.SIGKILL, all); ignoreNotFound(err) != nil {
		return fmt.Errorf("cannot kill process %q: %w", process, err)
	}
	if all {
		_ = c.daemon.Resume(ctx, id) // it may be paused, and would not end then
	}
	if _, err := c.daemon.Wait(ctx, id, process); ignoreNotFound(err) != nil {
		return fmt.Errorf("process %q was killed and did not end: %w", process, err)
	}
	_, err = c.daemon.Delete(ctx, id, process)
	return ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// destroyLater frees what a failed start may have left at the daemon: at once
// if it can, else by the next reconcile or start.
func (ctr *Container) destroyLater(process string) {
	ctx, cancel := ctr.client.undoing()
	defer cancel()
	if err := ctr.client.destroy(ctx, ctr.id, process); err != nil {
		ctr.client.logOf(ctr.id, process).WithError(err).Warn("cannot delete a process at the runtime daemon now; trying again later")
		ctr.mu.Lock()
		ctr.rec.leave(process)
		ctr.mu.Unlock()
	}
}

// leave notes that a process may have remains at the daemon.
func (r *record) leave(process string) {
	if r.remains == nil {
		r.remains = map[string]bool{}
	}
	r.remains[process] = true
}

// sweep deletes the remains of failed starts at the daemon. The error is that
// of the init process: no task can be created before it is gone.
func (ctr *Container) sweep(ctx context.Context) error {
	if err := ctr.lockSweep(ctx); err != nil {
		return err
	}
	defer ctr.unlockSweep()
	return ctr.sweepLocked(ctx)
}

// lockSweep keeps two sweeps apart: one that is slow must not find, and kill,
// the task that a start made after the other. It is not mu: nothing but
// requests that create, delete or sweep waits for it.
func (ctr *Container) lockSweep(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case ctr.sweeping <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the remains of an earlier start are still being deleted: %w", context.Cause(ctx))
	}
}

func (ctr *Container) unlockSweep() { <-ctr.sweeping }

// sweepExec deletes what an earlier exec of the same id may have left: a later
// sweep would find, and kill, the new one.
func (ctr *Container) sweepExec(ctx context.Context, id string) error {
	ctr.mu.Lock()
	left := ctr.rec.remains[id]
	ctr.mu.Unlock()
	if !left {
		return nil
	}
	if err := ctr.lockSweep(ctx); err != nil {
		return err
	}
	defer ctr.unlockSweep()
	return ctr.sweepProcess(ctx, id)
}

// sweepLocked is sweep for a caller that has lockSweep.
func (ctr *Container) sweepLocked(ctx context.Context) error {
	ctr.mu.Lock()
	left := slices.Sorted(maps.Keys(ctr.rec.remains))
	ctr.mu.Unlock()
	var failed error
	for _, process := range left {
		failed = errors.Join(failed, ctr.sweepProcess(ctx, process))
	}
	return failed
}

// sweepProcess deletes one of the remains, for a caller that has lockSweep.
func (ctr *Container) sweepProcess(ctx context.Context, process string) error {
	if err := ctr.client.destroy(ctx, ctr.id, process); err != nil {
		return fmt.Errorf("cannot delete the remains of process %q: %w", process, err)
	}
	ctr.mu.Lock()
	delete(ctr.rec.remains, process)
	ctr.mu.Unlock()
	return nil
}
