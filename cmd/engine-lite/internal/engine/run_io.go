package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logdriver"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/internal/classed"
)

func (e *Engine) containerDir(id string) string { return filepath.Join(e.opts.Root, "containers", id) }

// logOf says how the container's runs are logged. With an error the container can't be started. Its log can be read by
// attached clients, and no run adds to it.
func (e *Engine) logOf(r *record.Record) (logs.Log, error) {
	return logdriver.Open(r, e.containerDir(r.ID))
}

// rawDir is where the output of a container's run is before it is in the log.
func (e *Engine) rawDir(id string) string { return filepath.Join(e.containerDir(id), "raw") }

func (e *Engine) newIO(r *record.Record, note func(*stdio.IO)) (*stdio.IO, error) {
	l, err := e.logOf(r)
	if err != nil {
		log.WithError(err).WithField("container", r.ID).Warn(
			"the options of a container's log driver are wrong: the container can't be started, and its log has no bound")
	}
	if r.HostConfig.LogConfig.Type == logdriver.Local {
		if err := os.Mkdir(filepath.Dir(l.Path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	return stdio.Open(stdio.Config{
		Terminal: r.Config.Tty, Stdin: r.Config.OpenStdin, Once: r.Config.StdinOnce, Note: note,
		RawDir: e.rawDir(r.ID), Log: l, Bound: e.opts.OutputBound, Clients: &e.clients,
	})
}

// runIO returns the stdio of the container's run under way, or of its next
// one, which has to wait until nothing of the last one is left; Conflict where
// there will be none, since the container is being removed.
func (e *Engine) runIO(ctx context.Context, o *task) (*stdio.IO, error) {
	for {
		l, cleanup, err := e.makeIO(o)
		if cleanup == nil {
			return l, err
		}
		if await.Closed(ctx, cleanup) != nil {
			return nil, ctx.Err()
		}
	}
}

// makeIO is runIO, but for the wait: it returns the clean-up that has to be
// waited for. The files of the last run have the names of the next one's.
func (e *Engine) makeIO(o *task) (_ *stdio.IO, cleanup <-chan struct{}, _ error) {
	o.making.Lock()
	defer o.making.Unlock()
	o.LockState()
	l, r, err := o.io, o.Rec, o.noFurtherRunLocked()
	cleanup = o.cleaningLocked()
	ended := r.Exits >= o.generation // else there is a run, or a start, and no clean-up yet
	o.UnlockState()
	switch {
	case err != nil:
		return nil, nil, err
	case cleanup != nil && ended:
		return nil, cleanup, nil
	case l != nil:
		return l, nil, nil
	}
	l, err = e.newIO(r, func(l *stdio.IO) { e.noteStdinClosed(o, l) })
	if err != nil {
		return nil, nil, err
	}
	o.LockState()
	err = o.noFurtherRunLocked()
	if err == nil {
		o.io = l
	}
	o.UnlockState()
	if err != nil {
		return nil, nil, errors.Join(err, l.End())
	}
	return l, nil, nil
}

// cleaningLocked is the clean-up that isn't done yet; nil where it is.
func (o *task) cleaningLocked() <-chan struct{} {
	select {
	case <-o.cleanup:
		return nil
	default:
		return o.cleanup
	}
}

// noFurtherRunLocked is why the container has no further run.
func (o *task) noFurtherRunLocked() error {
	if o.Gone || o.Rec.Status == record.StatusRemoving {
		return classed.Errorf(errdefs.ErrConflict, "container %s is being removed", o.ID)
	}
	return nil
}

// endIO ends the run IO that there is, or that is being made. The next one is
// made when its files are gone.
func (o *task) endIO() error {
	o.making.Lock()
	defer o.making.Unlock()
	o.LockState()
	l := o.io
	o.io = nil
	o.UnlockState()
	if l == nil {
		return nil
	}
	return l.End()
}
