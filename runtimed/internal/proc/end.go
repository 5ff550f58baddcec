package proc

import (
	"context"
	"time"

	"github.com/engine-lite/engine-lite/internal/pidfd"
	"github.com/engine-lite/engine-lite/internal/procfs"
	"github.com/engine-lite/engine-lite/keeper"
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

// Parent returns the parent of a process. NotFound if there is no such process.
func Parent(pid int) (int, error) {
	parent, _, err := procfs.Parent(pid)
	return parent, err
}
