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

// undo is a stack of functions that undo the steps of a start. When a later step fails, they are called in reverse
// order.
type undo []func()

func (u *undo) add(step func()) { *u = append(*u, step) }

func (u *undo) run() {
	for i := len(*u) - 1; i >= 0; i-- {
		(*u)[i]()
	}
}

// bounded is the context of a call that the client makes without a context of a caller. It ends after the call
// timeout, and with the client.
func (c *Client) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.final, c.options.callTimeout)
}

// undoing is the context of the calls that undo a failed request, in the goroutine of its caller. It ends after the
// call timeout. It doesn't end with the client, so that nothing is left at the daemon.
func (c *Client) undoing() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.options.callTimeout)
}

// destroy deletes a process at the daemon, and kills it before if it runs. A process that the daemon doesn't know
// is no error.
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
		_ = c.daemon.Resume(ctx, id) // a paused task may not end by SIGKILL
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

// destroyLater deletes what a failed start may have left at the daemon: now, or if that fails, with the next
// reconcile or start.
func (ctr *Container) destroyLater(process string) {
	ctx, cancel := ctr.client.undoing()
	defer cancel()
	if err := ctr.client.destroy(ctx, ctr.id, process); err != nil {
		ctr.client.logOf(ctr.id, process).Warn("cannot delete the process of a failed start at the runtime daemon; trying again later",
			"error", err)
		ctr.mu.Lock()
		ctr.rec.addLeftover(process)
		ctr.mu.Unlock()
	}
}

// addLeftover notes that the daemon may still have a process.
func (r *record) addLeftover(process string) {
	if r.leftovers == nil {
		r.leftovers = map[string]bool{}
	}
	r.leftovers[process] = true
}

// sweep deletes the leftovers of failed starts at the daemon. A start needs that: no task can be created while the
// daemon has one.
func (ctr *Container) sweep(ctx context.Context) error {
	if err := ctr.lockSweep(ctx); err != nil {
		return err
	}
	defer ctr.unlockSweep()
	return ctr.sweepLocked(ctx)
}

// lockSweep excludes a second sweep at the same time: a slow sweep must not find, and kill, the task that a start
// made after another sweep. It is a lock of its own, since it is held during calls to the daemon, and mu is not.
func (ctr *Container) lockSweep(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case ctr.sweeping <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the leftovers of an earlier start are still being deleted: %w", context.Cause(ctx))
	}
}

func (ctr *Container) unlockSweep() { <-ctr.sweeping }

// sweepExec deletes the leftover of an earlier exec with the same id, before a new exec starts. A later sweep would
// find, and kill, the new one.
func (ctr *Container) sweepExec(ctx context.Context, id string) error {
	ctr.mu.Lock()
	left := ctr.rec.leftovers[id]
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

// sweepLocked is sweep for a caller that holds lockSweep.
func (ctr *Container) sweepLocked(ctx context.Context) error {
	ctr.mu.Lock()
	left := slices.Sorted(maps.Keys(ctr.rec.leftovers))
	ctr.mu.Unlock()
	var failed error
	for _, process := range left {
		failed = errors.Join(failed, ctr.sweepProcess(ctx, process))
	}
	return failed
}

// sweepProcess deletes one leftover, for a caller that holds lockSweep.
func (ctr *Container) sweepProcess(ctx context.Context, process string) error {
	if err := ctr.client.destroy(ctx, ctr.id, process); err != nil {
		return fmt.Errorf("cannot delete the leftover of process %q: %w", process, err)
	}
	ctr.mu.Lock()
	delete(ctr.rec.leftovers, process)
	ctr.mu.Unlock()
	return nil
}
