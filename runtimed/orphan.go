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

	"github.com/engine-lite/engine-lite/internal/pidfd"
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

// awaitOrphan waits until the process with this pid and start time has ended, or ctx ends. The exit is nil where the kernel doesn't tell how a
// process ended that somebody else reaps. NotFound if it had ended before.
func awaitOrphan(ctx context.Context, pid int, start uint64) (*keeper.Exit, error) {
	p := pidfd.Process{Pid: pid, Start: start}
	f, err := p.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := pidfd.Await(ctx, f); err != nil {
		return nil, err
	}
	status, ok := p.Status(f)
	if !ok {
		return nil, nil
	}
	return &keeper.Exit{Pid: pid, StartTime: start, Status: status, Time: time.Now()}, nil
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
