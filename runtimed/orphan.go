package runtimed

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

	"github.com/engine-lite/engine-lite/keeper"
)

// watchOrphans looks after the processes that are not the keeper's children, because an earlier keeper was killed: the host's init reaps them, so
// the keeper never tells of their end. Each is watched through a pidfd, by a goroutine that ends with the process or with ctx.
func (d *Daemon) watchOrphans(ctx context.Context) {
	k, err := d.keeper.get()
	if err != nil {
		return // the next connection comes here again
	}
	for pid, l := range d.exits.all() {
		parent, err := parentPid(pid)
		if l.start == 0 || l.watched || err != nil || parent == k.Pid() {
			continue
		}
		if d.exits.watch(pid, l.p) {
			d.work.Go(func() { d.watchOrphan(ctx, pid, l) })
		}
	}
}

func (d *Daemon) watchOrphan(ctx context.Context, pid int, l liveProcess) {
	exit, err := awaitOrphan(ctx, pid, l.start)
	if ctx.Err() != nil {
		return // the next daemon finds it
	}
	if err != nil && !errdefs.IsNotFound(err) {
		d.log.WithError(err).WithField("process", l.p.String()).Error("cannot watch a process that is not the keeper's child")
		return
	}
	if !d.exits.forget(pid, l.p) {
		return
	}
	if exit == nil {
		d.settle(l.p, unknownExit("the process ended after its keeper had been killed"), nil)
		return
	}
	d.exited(l.p, *exit)
}

// awaitOrphan waits until the process with this pid and start time has ended (pidfd_open(2): a pidfd is readable then), or ctx ends. The exit
// is nil where the kernel doesn't tell how a process ended that somebody else reaps. NotFound if it had ended before.
func awaitOrphan(ctx context.Context, pid int, start uint64) (*keeper.Exit, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, goneError(pid)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	if !alive(pid, start) {
		return nil, goneError(pid)
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(pastDeadline) }) // fails only once closed
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var exit *keeper.Exit
	err = raw.Read(func(fd uintptr) bool {
		if !ready(fd, unix.POLLIN) {
			return false
		}
		if status, ok := endOf(int(fd), pid, start); ok {
			exit = &keeper.Exit{Pid: pid, StartTime: start, Status: status, Time: time.Now()}
		}
		return true
	})
	return exit, err
}

// endOf finds the raw wait status of a process that has ended: in /proc while nobody has reaped it, else from its pidfd (ioctl_pidfd(2),
// PIDFD_INFO_EXIT, Linux 6.15).
func endOf(fd, pid int, start uint64) (status uint32, ok bool) {
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		if status, ok := parseZombie(stat, start); ok {
			return status, true
		}
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(fd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, false
	}
	return uint32(info.Exit_code), true
}

// parseZombie finds the exit code of an ended process with this start time (proc(5), /proc/PID/stat, fields 3, 22 and 52).
func parseZombie(stat []byte, start uint64) (status uint32, ok bool) {
	const state, startTime, exitCode = 0, 19, 49 // counted from field 3, the first after the name
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= exitCode || string(fields[state]) != "Z" || string(fields[startTime]) != strconv.FormatUint(start, 10) {
		return 0, false
	}
	code, err := strconv.ParseUint(string(fields[exitCode]), 10, 32)
	return uint32(code), err == nil
}

// parentPid reads the parent of a process (proc(5), /proc/PID/stat, field 4).
func parentPid(pid int) (int, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, unix.ESRCH) {
		return 0, goneError(pid)
	}
	if err != nil {
		return 0, classed(err)
	}
	return parseParent(stat)
}

// parseParent finds field 4. Fields are counted from the last bracket on, since the command in field 2 may hold anything.
func parseParent(stat []byte) (int, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, fmt.Errorf("process stat with %d fields after the command: %w", len(fields), errdefs.ErrDataLoss)
	}
	return strconv.Atoi(string(fields[1]))
}
