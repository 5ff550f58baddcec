// Package pidfd tells how processes end that somebody else reaps.
package pidfd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/procfs"
)

// Process is a process by its pid and its start time in clock ticks after boot
// (proc(5), /proc/PID/stat, field 22).
type Process struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// Open opens a pidfd of a process that lives or was not reaped yet. It tells how
// the process ends, whoever reaps it. NotFound if it is gone.
func (p Process) Open() (*os.File, error) {
	fd, err := unix.PidfdOpen(p.Pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, p.gone()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", p.Pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if start, err := procfs.StartTime(p.Pid); err != nil || start != p.Start {
		return nil, errors.Join(p.gone(), f.Close())
	}
	return f, nil
}

func (p Process) gone() error {
	return fmt.Errorf("process %d is gone: %w", p.Pid, errdefs.ErrNotFound)
}

// Await waits until the process of a pidfd has ended (pidfd_open(2): it can be
// read then) or ctx ends.
func Await(ctx context.Context, pidfd *os.File) error {
	stop := context.AfterFunc(ctx, func() { pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Read(readable); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// Ended tells whether the process of a pidfd has ended.
func Ended(pidfd *os.File) bool {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return false
	}
	ended := false
	return raw.Control(func(fd uintptr) { ended = readable(fd) }) == nil && ended
}

func readable(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n == 1
}

// Status is the raw wait status of a process that has ended, where the kernel
// tells it: in /proc until it is reaped, afterwards by its pidfd (ioctl_pidfd(2),
// PIDFD_INFO_EXIT, Linux 6.15).
func (p Process) Status(pidfd *os.File) (status uint32, ok bool) {
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid) + "/stat"); err == nil {
		if status, ok := zombieStatus(stat, p.Start); ok {
			return status, true
		}
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return 0, false
	}
	var ioctl error
	if err := raw.Control(func(fd uintptr) { ioctl = unix.IoctlPidfdInfo(int(fd), &info) }); err != nil || ioctl != nil {
		return 0, false
	}
	return uint32(info.Exit_code), info.Mask&unix.PIDFD_INFO_EXIT != 0
}

// zombieStatus reads the fields state, start time and exit code of a zombie's
// /proc/PID/stat (proc(5), fields 3, 22 and 52, counted here behind the name).
func zombieStatus(stat []byte, start uint64) (uint32, bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 50 || string(fields[0]) != "Z" || string(fields[19]) != strconv.FormatUint(start, 10) {
		return 0, false
	}
	code, err := strconv.ParseUint(string(fields[49]), 10, 32)
	return uint32(code), err == nil
}
