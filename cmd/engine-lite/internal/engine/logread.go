package engine

import (
	"context"
	"io"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ContainerLogs hands over what the container's log has and, followed, what
// comes until the container ends.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, opts LogsOptions) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	r := o.Record()
	path := e.logPath(r)
	switch {
	case !opts.Stdout && !opts.Stderr:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Bad parameters: you must choose at least one stream")
	case path == "":
		return classed.Errorf(errdefs.ErrNotImplemented, "configured logging driver does not support reading")
	}
	if err := o.awaitSwept(ctx); err != nil {
		return err
	}
	// Of a run that is seen to have exited the last output may not be in the log
	// before the exit is announced.
	if err := o.Await(ctx, func(v containers.View) bool { return v.Record.Running() || v.Announced == v.Record.Exits }); err != nil {
		return err
	}
	r = o.Record()
	follow, leave, err := e.followed(ctx, o, r, opts.Follow)
	if err != nil {
		return err
	}
	defer leave()
	stdout, stderr, err := opts.Open(r.Config.Tty)
	if err != nil {
		return err
	}
	line := lineWriter{opts: opts, stdout: stdout, stderr: stderr}
	return logs.Read(ctx, path, logs.ReadOptions{
		Stdout: opts.Stdout, Stderr: opts.Stderr, Since: opts.Since, Until: opts.Until, Tail: opts.Tail, Follow: follow,
	}, line.write)
}

// followed returns the output to follow: that of the run under way, or of the
// first one. Where the run has just ended it waits until all of it is in the log.
func (e *Engine) followed(ctx context.Context, o *task, r *record.Record, follow bool) (*logs.Output, func(), error) {
	none := func() {}
	if !follow || (!r.Running() && r.Status != record.StatusCreated) {
		return nil, none, nil
	}
	l, err := e.processes.Held(o.ID, libcontainerd.InitProcess) // runIO may be that of a run to come
	if err != nil && !r.Running() {
		l, err = e.runIO(ctx, o)
		if err != nil {
			return nil, none, err
		}
	}
	if err == nil && l.Join() {
		return l.Output, func() { _ = l.Leave() }, nil
	}
	return nil, none, o.Await(ctx, func(v containers.View) bool { return v.Announced >= r.Generation })
}

// lineWriter writes a log's entries as a client asked for them.
type lineWriter struct {
	opts           LogsOptions
	stdout, stderr io.Writer
	buf            []byte
}

// logTime is Docker's form of a log's times: nanoseconds, none of them left out.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

func (w *lineWriter) write(entry logs.Entry) error {
	w.buf = w.buf[:0]
	if w.opts.Timestamps {
		w.buf = entry.Time.AppendFormat(w.buf, logTime)
		w.buf = append(w.buf, ' ')
	}
	if w.opts.Details {
		w.buf = append(w.buf, ' ')
	}
	w.buf = append(w.buf, entry.Line...)
	entry.Line = w.buf
	return writeEntry(w.stdout, w.stderr, entry)
}
