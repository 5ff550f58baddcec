package engine

import (
	"context"
	"errors"
	"os"

	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// rest is what an earlier engine had not read of the output of a run that has
// ended: the raw files, and the streams where they are still there.
type rest struct {
	life    *life
	streams libcontainerd.Streams
}

// openRest takes the output of a container's last run, and begins to move it to
// the log; nil where nothing is left of it. It is for drainRest or leave to end it.
func (e *Engine) openRest(ctx context.Context, o *task, held bool) (*rest, error) {
	if _, err := os.Stat(e.rawDir(o.ID)); errors.Is(err, os.ErrNotExist) && !held {
		return nil, nil
	}
	l, err := e.lifeOf(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &rest{life: l}
	r.streams, err = e.stdio.retake(ctx, libcontainerd.StdioConfig{
		ContainerID: o.ID, ProcessID: libcontainerd.InitProcess, Terminal: l.terminal, Stdin: l.stdin,
	}, func() {}) // drained and closed, where they are gone
	if err != nil {
		return nil, errors.Join(err, r.leave(o))
	}
	l.attach(r.streams)
	l.begin()
	return r, nil
}

// leave has the next engine, or the next start, go on where this one stands.
func (r *rest) leave(o *task) error {
	if r == nil {
		return nil
	}
	o.Change(func() { o.life = nil })
	err := r.life.suspend()
	if r.streams != nil {
		err = errors.Join(err, r.streams.Detach())
	}
	return err
}

// drainRest moves the rest to the log. The process is gone.
func (e *Engine) drainRest(ctx context.Context, o *task, r *rest) error {
	if r == nil {
		return nil
	}
	r.streams.ExitKnown()
	if err := r.life.drained(ctx); errors.Is(err, errStalled) {
		e.drainLater(o, r.life, r.streams)
		return nil
	} else if err != nil {
		return errors.Join(err, r.leave(o))
	}
	return errors.Join(o.endLife(), r.streams.Close())
}

// drainLater has the clean-up of the run wait until the disk takes its output.
func (e *Engine) drainLater(o *task, l *life, streams libcontainerd.Streams) {
	cleanup := make(chan struct{})
	o.Change(func() { o.life, o.ending, o.cleanup = nil, l, cleanup })
	e.background.Go(func() { // ends with the output, the container or the engine
		defer close(cleanup)
		err := l.endDrained(e.background.Context())
		if e.background.Ended() {
			err = errors.Join(err, streams.Detach())
		} else {
			err = errors.Join(err, streams.Close())
		}
		if err != nil {
			log.WithError(err).WithField("container", o.ID).Error("cannot clean up after an earlier engine")
		}
	})
}
