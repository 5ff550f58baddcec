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

// releasedParent is what /proc/PID/stat has as the parent of a process that is reaped while the file is read. The
// first process of the pid namespace has it for ever, as has one that came from a namespace above, of whom no ledger
// knows.
const releasedParent = 0

// verifyNew returns the start time of a process that an OCI runtime reports to have made since a moment. The runtime
// is not trusted: the process must be a child of the keeper, as all processes are that a runtime leaves behind, and
// must have begun after the call. So no container is made of a process of somebody else. The keeper knows a process
// that has ended already. Errors: Unknown if the pid is not that of a new process, Unavailable without the keeper.
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

// shortLived returns the start time of a new process that has ended already. The keeper records an exit before it
// reaps the process, so that the exit is in its ledger by now. The timeout is for a pid that no process ever had.
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
