package core

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/keeperlink"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
)

// releasedParent is what /proc/PID/stat has as the parent of a process that is reaped while the file is read. The first process of the pid namespace has it for ever,
// as has one that came from a namespace above, of whom no ledger knows.
const releasedParent = 0

// verifyNew returns the start time of a process that an OCI runtime says it has made since a moment. What the pid file names is believed only if it is a child of
// the keeper, as everything is that a runtime leaves behind, and began after the runtime did: a container must not be made of somebody else's
// process. Of one that is gone already the keeper knows. Errors: Unknown if the pid is not that of a new process, Unavailable without the keeper.
func (d *Daemon) verifyNew(ctx context.Context, pid int, since proc.Moment) (start uint64, err error) {
	k, err := d.keeper.Get()
	if err != nil {
		return 0, err
	}
	start, err = keeper.StartTime(pid)
	var parent int
	if err == nil {
		parent, err = proc.Parent(pid)
	}
	switch {
	case errdefs.IsNotFound(err) || err == nil && parent == releasedParent && pid != 1:
		return d.shortLived(ctx, k, pid, since)
	case err != nil:
		return 0, err
	case parent != k.Pid():
		return 0, notNew(pid, "it is not the keeper's child")
	case start < since.Ticks:
		return 0, notNew(pid, "it is older than the call")
	case d.exits.awaits(pid, start):
		return 0, notNew(pid, "it is another container's")
	}
	return start, nil
}

func notNew(pid int, why string) error {
	return fmt.Errorf("the OCI runtime gave process %d as the container's, but %s: %w", pid, why, errdefs.ErrUnknown)
}

// shortLived finds the start time of a new process that is gone. The keeper writes down an exit before it lets go of the process, so that all there is to wait for
// is in the ledger already; the bound is for a process that there never was.
func (d *Daemon) shortLived(ctx context.Context, k *keeper.Client, pid int, since proc.Moment) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, keeperlink.Timeout)
	defer cancel()
	found := errors.New("found")
	var start uint64
	err := k.Exits(ctx, func(e keeper.Exit) error {
		if e.Pid != pid || since.After(e) {
			return nil
		}
		start = e.StartTime
		return found
	})
	switch {
	case errors.Is(err, found):
		return start, nil
	case errors.Is(err, context.DeadlineExceeded):
		return 0, notNew(pid, "there is none")
	}
	return 0, fmt.Errorf("cannot look up the exit of process %d: %w", pid, err)
}
