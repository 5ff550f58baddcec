package engine

import (
	"context"
	"errors"
	"os"

	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// leftoverOutput is what an earlier engine had not read of the output of a run that has
// ended: the raw files, and the streams where they are still there.
type leftoverOutput struct {
	io      *stdio.IO
	streams libcontainerd.Streams
}

// openLeftover takes the output of a container's last run, and begins to move it to
// the log; nil where nothing is left of it. It is for drainLeftover or leave to end it.
func (e *Engine) openLeftover(ctx context.Context, o *task, held bool) (*leftoverOutput, error) {
	if _, err := os.Stat(e.rawDir(o.ID)); errors.Is(err, os.ErrNotExist) && !held {
		return nil, nil
	}
	l, err := e.runIO(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &leftoverOutput{io: l}
	r.streams, err = e.stdio.Retake(ctx, libcontainerd.StreamsConfig{
		ContainerID: o.ID, ProcessID: libcontainerd.InitProcess,
		StdioConfig: libcontainerd.StdioConfig{Terminal: l.Terminal, Stdin: l.Stdin},
	}, func() {}) // drained and closed, where they are gone
	if err != nil {
		return nil, errors.Join(err, r.leave(o))
	}
	l.Attach(r.streams)
	l.Created()
	return r, nil
}

// leave has the next engine, or the next start, go on where this one stands.
func (r *leftoverOutput) leave(o *task) error {
	if r == nil {
		return nil
	}
	o.Change(func() { o.io = nil })
	err := r.io.Suspend()
	if r.streams != nil {
		err = errors.Join(err, r.streams.Detach())
	}
	return err
}

// drainLeftover moves it to the log. The process is gone.
func (e *Engine) drainLeftover(ctx context.Context, o *task, r *leftoverOutput) error {
	if r == nil {
		return nil
	}
	r.streams.ExitKnown()
	if err := r.io.Drained(ctx); errors.Is(err, stdio.ErrStalled) {
		e.drainLater(o, r.io, r.streams)
		return nil
	} else if err != nil {
		return errors.Join(err, r.leave(o))
	}
	return errors.Join(o.endIO(), r.streams.Close())
}

// drainLater has the clean-up of the run wait until the disk takes its output.
func (e *Engine) drainLater(o *task, l *stdio.IO, streams libcontainerd.Streams) {
	cleanup := make(chan struct{})
	o.Change(func() { o.io, o.ending, o.cleanup = nil, l, cleanup })
	e.background.Go(func() { // ends with the output, the container or the engine
		defer close(cleanup)
		err := l.EndDrained(e.background.Context())
		if e.background.Ended() {
			err = errors.Join(err, streams.Detach())
		} else {
			err = errors.Join(err, streams.Close())
		}
		if err != nil {
			log.WithError(err).WithField("container", o.ID).Error(
				"cannot finish the log and close the streams of a run that an earlier engine left")
		}
	})
}
