package proc

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
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// AwaitEnd waits until the process with this pid and start time has ended, or ctx ends. The exit is nil where the
// kernel doesn't tell how a process ended that somebody else reaps. NotFound if it had ended before.
func AwaitEnd(ctx context.Context, pid int, start uint64) (*keeper.Exit, error) {
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

// Parent reads the parent of a process (proc(5), /proc/PID/stat, field 4).
func Parent(pid int) (int, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, unix.ESRCH) {
		return 0, gone(pid)
	}
	if err != nil {
		return 0, statefile.Classed(err)
	}
	return parseParent(stat)
}

// parseParent finds field 4. Fields are counted from the last bracket on, since the command in field 2 may hold
// anything.
func parseParent(stat []byte) (int, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, fmt.Errorf("process stat with %d fields after the command: %w", len(fields), errdefs.ErrDataLoss)
	}
	return strconv.Atoi(string(fields[1]))
}
