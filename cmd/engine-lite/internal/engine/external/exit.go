package external

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/internal/pidfd"
	"github.com/engine-lite/engine-lite/keeper"
)

// exit is how a container's process ended.
type exit struct {
	run       string
	time      time.Time
	status    uint32 // raw, of wait(2)
	unknown   string // why nobody knows the status
	recovered bool
}

// exitCode is the code that OCI runtimes report for a raw wait status.
func exitCode(status uint32) int { return keeper.Exit{Status: status}.Code() }

// watch has a goroutine wait for the end of a container's process; it ends with
// the process or with the engine. A process that is gone, and that nobody kept,
// has an unknown exit. An error is to be tried again.
func (f *watcher) watch(ctx context.Context, run string, c *container, process ocilog.Process) error {
	if c.watched || c.exit != nil {
		return nil
	}
	handle, err := f.open(ctx, run, process)
	if errdefs.IsNotFound(err) {
		c.exit = &exit{run: run, time: time.Now(), recovered: true, unknown: "the container ended while neither engine nor keeper watched it"}
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch process %d: %w", process.Pid, err)
	}
	c.watched = true
	late := pidfd.Ended(handle)
	f.waiters.Go(func() {
		defer handle.Close()
		if pidfd.Await(f.background.Context(), handle) != nil {
			return
		}
		x := exit{run: run, time: time.Now(), recovered: late}
		var ok bool
		if x.status, ok = process.Status(handle); !ok {
			x.unknown = "the kernel doesn't tell how a process ended that somebody else reaped"
		}
		select {
		case f.ended <- x:
		case <-f.background.Context().Done():
		}
	})
	return nil
}

// open opens a container's process: the one that the keeper has kept since it was
// created, else anew. Then the keeper gets it, for the next engine.
func (f *watcher) open(ctx context.Context, run string, process ocilog.Process) (*os.File, error) {
	hold := f.keeper
	handle, _, err := hold.Take(ctx, ocilog.Held(run), keeper.Process)
	if err == nil || !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err) { // invalid: a keeper of before this was there
		return handle, err
	}
	if handle, err = process.Open(); err != nil {
		return nil, err
	}
	err = hold.Hold(ctx, ocilog.Held(run), keeper.Process, handle, nil, keeper.HoldOptions{Taken: true})
	if err != nil && errdefs.IsUnavailable(err) {
		return nil, errors.Join(err, handle.Close())
	}
	return handle, nil // a keeper that can't hold it makes the exit unknown only where the engine dies too
}

// drop removes the log of a destroyed container whose events are in the journal, and then what the
// engine knows of it. It returns false where a command still has the log.
func (f *watcher) drop(ctx context.Context, run string, c *container) (bool, error) {
	if !ocilog.Retired(c.name) {
		if err := f.retire(ctx, run, c); err != nil {
			return false, err
		}
	}
	if err := os.Remove(filepath.Join(f.dir, c.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return true, f.forget(ctx, run)
}

// retireWait is what a command may take for its last step.
const retireWait = 100 * time.Millisecond

// retire does the last step of a command that was killed before it.
func (f *watcher) retire(ctx context.Context, run string, c *container) error {
	ctx, cancel := context.WithTimeout(ctx, retireWait)
	defer cancel()
	l, err := ocilog.Open(ctx, f.dir, c.name, false)
	if err != nil {
		return err
	}
	defer l.Close()
	if l.State.Container.Run != run {
		return fmt.Errorf("container %s: its log is another's by now: %w", run, errdefs.ErrNotFound)
	}
	if err := l.Retire(); err != nil {
		return err
	}
	c.name = l.Name()
	return nil
}

func (f *watcher) forget(ctx context.Context, run string) error {
	if err := f.keeper.Release(ctx, ocilog.Held(run), ""); err != nil {
		return err
	}
	err := f.store.Update(ctx, func(tx *store.Tx) error {
		Records.Delete(tx, run)
		return nil
	})
	if err == nil {
		delete(f.byRun, run)
	}
	return err
}

// lose appends the end of a container whose log is gone: the machine was
// restarted, or an engine was killed between a log's removal and its record's.
func (f *watcher) lose(ctx context.Context, run string, c *container) error {
	t := step{record: c.record}
	if !t.record.State.Destroyed {
		now := time.Now()
		if t.awaitsExit() {
			t.die(exit{time: now, recovered: true, unknown: "the container's log is gone: was the machine restarted?"})
		}
		t.add(ocilog.Line{Time: now, Action: ocilog.Destroy, Step: ocilog.Done, Recovered: true})
		if err := f.commit(ctx, run, t); err != nil {
			return err
		}
	}
	return f.forget(ctx, run)
}
