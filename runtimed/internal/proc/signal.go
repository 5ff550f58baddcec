package proc

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/keeper"
)

// Signal sends a signal to the process that has this pid and start time, and to no other: the pidfd pins whoever has
// the pid now, and the start time tells whether that is still the one (pidfd_open(2)). NotFound if the process is gone.
func Signal(pid int, start uint64, signal uint32) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return gone(pid)
	}
	if err != nil {
		return fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if !Alive(pid, start) {
		return gone(pid)
	}
	switch err := unix.PidfdSendSignal(fd, unix.Signal(signal), nil, 0); {
	case errors.Is(err, unix.ESRCH):
		return gone(pid)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("no such signal: %d: %w", signal, errdefs.ErrInvalidArgument)
	case err != nil:
		return fmt.Errorf("cannot signal process %d: %w", pid, err)
	}
	return nil
}

// Alive tells whether the process with this pid and start time exists; one that ended but was not reaped yet does.
func Alive(pid int, start uint64) bool {
	now, err := keeper.StartTime(pid)
	return err == nil && now == start
}

func gone(pid int) error {
	return fmt.Errorf("process %d has ended: %w", pid, errdefs.ErrNotFound)
}

const KillSignal = uint32(unix.SIGKILL)
