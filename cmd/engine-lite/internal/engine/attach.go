package engine

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logdriver"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// ContainerAttach joins a client to the container's stdio, or to that of its
// next run where it doesn't run. It returns when the output has ended, the
// client has detached, or ctx ends.
func (e *Engine) ContainerAttach(ctx context.Context, ref string, o AttachOptions) error {
	keys, err := stdio.ParseDetachKeys(o.DetachKeys)
	if err != nil {
		return err
	}
	c, err := e.find(ref)
	if err != nil {
		return err
	}
	if c.Record().Status == record.StatusPaused {
		return classed.Errorf(errdefs.ErrConflict, "container %s is paused, unpause the container before attach", c.ID)
	}
	if err := c.awaitSwept(ctx); err != nil {
		return err
	}
	l, err := e.runIO(ctx, c)
	if err != nil {
		return err
	}
	if !o.Stream {
		return e.replay(ctx, c, l, o)
	}
	err = l.Client(ctx, logs.FollowOptions{Stdout: o.Stdout, Stderr: o.Stderr, Logged: o.Logs}, keys, func() (Streams, error) {
		if err := e.attached(ctx, c, l, o.Stdin && l.ClosesStdin()); err != nil {
			return Streams{}, err
		}
		return o.Open(l.Terminal)
	})
	if errors.Is(err, stdio.ErrDetached) {
		return c.Notify(ctx, "detach", nil)
	}
	return err
}

// attached commits the event of an attached client, and that the client has the stdin: the stdin ends with it.
func (e *Engine) attached(ctx context.Context, c *task, l *stdio.IO, stdin bool) error {
	_, _, err := c.Commit(context.WithoutCancel(ctx), containers.Change{Action: "attach", Mutate: func(r *record.Record) error {
		c.LockState()
		defer c.UnlockState()
		r.StdinTaken = r.StdinTaken || (stdin && c.io == l)
		return nil
	}})
	return err
}

// replay writes what was logged before and ends.
func (e *Engine) replay(ctx context.Context, c *task, l *stdio.IO, o AttachOptions) error {
	s, err := o.Open(l.Terminal)
	if err != nil || !o.Logs {
		return err
	}
	want := logs.ReadOptions{Stdout: o.Stdout, Stderr: o.Stderr, Tail: -1, Output: l.Output}
	return logs.Read(ctx, logdriver.Path(c.Record(), e.containerDir(c.ID)), want,
		func(entry logs.Entry) error { return writeEntry(s.Stdout, s.Stderr, entry) })
}

func writeEntry(stdout, stderr io.Writer, entry logs.Entry) error {
	w := stdout
	if entry.Stream == logs.Stderr {
		w = stderr
	}
	if w == nil {
		return nil
	}
	_, err := w.Write(entry.Line)
	return err
}
