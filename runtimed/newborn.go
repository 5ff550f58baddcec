package runtimed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/keeper"
)

// ticksPerSecond are the units of start times: USER_HZ, the same on all that Go runs on (proc(5), /proc/PID/stat).
const ticksPerSecond = 100

// moment is a point in time, on the clock of exits and in the unit of start times.
type moment struct {
	wall  time.Time
	ticks uint64
}

// after tells whether a process began, or ended, before the moment. Its start counts where it is known: the clock of exits may have been set back.
func (m moment) after(e keeper.Exit) bool {
	if e.StartTime != 0 {
		return e.StartTime < m.ticks
	}
	return e.Time.Before(m.wall)
}

func now() moment {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		boot = unix.Timespec{} // it can't fail with a clock that exists; every process is younger than 0
	}
	return moment{wall: time.Now(), ticks: uint64(boot.Nano()) / (uint64(time.Second) / ticksPerSecond)}
}

// releasedParent is what /proc/PID/stat has as the parent of a process that is reaped while the file is read. The first process of the pid namespace has it for ever,
// as has one that came from a namespace above, of whom no ledger knows.
const releasedParent = 0

// newborn returns the start time of a process that an OCI runtime says it has made since a moment. What the pid file names is believed only if it is a child of
// the keeper, as everything is that a runtime leaves behind, and began after the runtime did: a container must not be made of somebody else's
// process. Of one that is gone already the keeper knows. Errors: Unknown if the pid is not that of a new process, Unavailable without the keeper.
func (d *Daemon) newborn(ctx context.Context, pid int, since moment) (start uint64, err error) {
	k, err := d.keeper.get()
	if err != nil {
		return 0, err
	}
	start, err = keeper.StartTime(pid)
	var parent int
	if err == nil {
		parent, err = parentPid(pid)
	}
	switch {
	case errdefs.IsNotFound(err) || err == nil && parent == releasedParent && pid != 1:
		return d.shortLived(ctx, k, pid, since)
	case err != nil:
		return 0, err
	case parent != k.Pid():
		return 0, notNew(pid, "it is not the keeper's child")
	case start < since.ticks:
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
func (d *Daemon) shortLived(ctx context.Context, k *keeper.Client, pid int, since moment) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	found := errors.New("found")
	var start uint64
	err := k.Exits(ctx, func(e keeper.Exit) error {
		if e.Pid != pid || since.after(e) {
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
