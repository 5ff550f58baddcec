package engine

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// ContainerAttach joins a client to the container's stdio, or to that of its
// next run where it doesn't run. It returns when the output has ended, the
// client has detached, or ctx ends.
func (e *Engine) ContainerAttach(ctx context.Context, ref string, o AttachOptions) error {
	c, err := e.find(ref)
	if err != nil {
		return err
	}
	if c.Record().Status == record.StatusPaused {
		return classed.Errorf(errdefs.ErrConflict, "container %s is paused, unpause the container before attach", c.ID)
	}
	keys, err := parseDetachKeys(o.DetachKeys)
	if err != nil {
		return err
	}
	if err := c.awaitSwept(ctx); err != nil {
		return err
	}
	l, err := e.lifeOf(ctx, c)
	if err != nil {
		return err
	}
	if !o.Stream {
		return e.replay(ctx, c, l.terminal, o)
	}
	err = l.client(ctx, logs.FollowOptions{Stdout: o.Stdout, Stderr: o.Stderr, Logged: o.Logs}, keys, func() (Streams, error) {
		if err := e.attached(ctx, c, l, o.Stdin && l.closesStdin()); err != nil {
			return Streams{}, err
		}
		return o.Open(l.terminal)
	})
	if errors.Is(err, errDetached) {
		return c.Notify(ctx, "detach", nil)
	}
	return err
}

// attached tells of an attached client, and writes down that it has the stdin
// that goes with it.
func (e *Engine) attached(ctx context.Context, c *task, l *life, stdin bool) error {
	_, _, err := c.Commit(context.WithoutCancel(ctx), containers.Change{Action: "attach", Mutate: func(r *record.Record) error {
		c.LockState()
		defer c.UnlockState()
		r.StdinTaken = r.StdinTaken || (stdin && c.life == l)
		return nil
	}})
	return err
}

// closesStdin tells whether stdin is closed when its first client has gone.
func (l *life) closesStdin() bool { return l.stdin && l.once && !l.terminal }

// client follows the life for one client: from the moment of the call, so that
// what comes while its connection is taken over isn't missed.
func (l *life) client(ctx context.Context, o logs.FollowOptions, keys []byte, open func() (Streams, error)) error {
	if !l.join() {
		return classed.Errorf(errdefs.ErrConflict, "the process has just ended")
	}
	follower := l.output.Follow(o)
	streams, err := open()
	if err == nil {
		err = l.serve(ctx, follower, streams, keys)
	}
	return errors.Join(err, follower.Close(), l.leave())
}

// replay writes what was logged before and ends.
func (e *Engine) replay(ctx context.Context, c *task, terminal bool, o AttachOptions) error {
	s, err := o.Open(terminal)
	if err != nil || !o.Logs {
		return err
	}
	return logs.Read(ctx, e.logPath(c.Record()), logs.ReadOptions{Stdout: o.Stdout, Stderr: o.Stderr, Tail: -1},
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

var errDetached = errors.New("detached")

// serve copies between a client and the process until the output has ended,
// the client has detached (errDetached) or gone, or ctx ends. The goroutine that reads from
// the client ends when the caller closes the client's connection.
func (l *life) serve(ctx context.Context, f *logs.Follower, s Streams, keys []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.Stdin != nil && l.stdin {
		l.group.Go(func() { l.feed(s.Stdin, keys, cancel) })
	}
	err := f.Copy(ctx, s.Stdout, s.Stderr)
	if errors.Is(context.Cause(ctx), errDetached) {
		return errDetached
	}
	return err
}

// feed moves the client's input to the process. The end of the input closes the
// process's stdin where it is for one client only; a detach ends the
// attachment.
func (l *life) feed(from io.Reader, keys []byte, cancel context.CancelCauseFunc) {
	in, err := l.input()
	if err != nil {
		return
	}
	if l.terminal {
		from = &detachReader{r: from, keys: keys}
	}
	_, err = io.Copy(onlyWriter{in}, from)
	if errors.Is(err, errDetached) {
		cancel(errDetached)
		return
	}
	if l.closesStdin() {
		l.closeStdin()
	}
}

// onlyWriter hides every method but Write.
type onlyWriter struct{ io.Writer }
