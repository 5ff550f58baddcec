package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

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
	config, badOptions := e.logOf(r)
	switch {
	case !opts.Stdout && !opts.Stderr:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Bad parameters: you must choose at least one stream")
	case config.Path == "":
		return classed.Errorf(errdefs.ErrNotImplemented, "configured logging driver does not support reading")
	case badOptions != nil:
		return classed.Errorf(errdefs.ErrInternal, "%v", badOptions)
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
	follow := opts.Follow && (r.Running() || r.Status == record.StatusCreated)
	output, leave, err := e.readFrom(ctx, o, r, follow)
	if err != nil {
		return err
	}
	defer leave()
	stdout, stderr, err := opts.Open(r.Config.Tty)
	if err != nil {
		return err
	}
	line := lineWriter{opts: opts, stdout: stdout, stderr: stderr}
	return logs.Read(ctx, config.Path, logs.ReadOptions{
		Stdout: opts.Stdout, Stderr: opts.Stderr, Since: opts.Since, Until: opts.Until, Tail: opts.Tail,
		Output: output, Follow: follow,
	}, line.write)
}

// readFrom returns the output that writes to the container's log; nil where none does.
func (e *Engine) readFrom(ctx context.Context, o *task, r *record.Record, follow bool) (*logs.Output, func(), error) {
	if follow {
		return e.followed(ctx, o, r)
	}
	l, err := e.processes.Held(o.ID, libcontainerd.InitProcess)
	if err != nil {
		o.LockState()
		l = o.ending
		o.UnlockState()
		if l == nil || !l.Unread() {
			return nil, func() {}, nil
		}
	}
	if !l.Join() {
		return nil, func() {}, nil
	}
	return l.Output, func() { _ = l.Leave() }, nil
}

// followed returns the output to follow: that of the run under way, or of the
// first one. Where the run has just ended it waits until all of it is in the log.
func (e *Engine) followed(ctx context.Context, o *task, r *record.Record) (*logs.Output, func(), error) {
	l, err := e.processes.Held(o.ID, libcontainerd.InitProcess) // runIO may be that of a run to come
	if err != nil && !r.Running() {
		l, err = e.runIO(ctx, o)
		if err != nil {
			return nil, func() {}, err
		}
	}
	if err == nil && l.Join() {
		return l.Output, func() { _ = l.Leave() }, nil
	}
	return nil, func() {}, o.Await(ctx, func(v containers.View) bool { return v.Announced >= r.Generation })
}

// lineWriter writes a log's entries as a client asked for them.
type lineWriter struct {
	opts           LogsOptions
	stdout, stderr io.Writer
	buf            []byte
	// attrs are those of the entry before, in the form in which they are shown. A run's entries have the same ones.
	attrs      json.RawMessage
	shownAttrs string
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
		if !bytes.Equal(entry.Attrs, w.attrs) {
			w.attrs, w.shownAttrs = bytes.Clone(entry.Attrs), showAttrs(entry.Attrs)
		}
		w.buf = append(w.buf, w.shownAttrs...)
		w.buf = append(w.buf, ' ')
	}
	w.buf = append(w.buf, entry.Line...)
	entry.Line = w.buf
	return writeEntry(w.stdout, w.stderr, entry)
}

// showAttrs is Docker's form of what an entry has besides its text. Damaged attributes are not shown.
func showAttrs(attrs json.RawMessage) string {
	var values map[string]string
	if len(attrs) == 0 || json.Unmarshal(attrs, &values) != nil {
		return ""
	}
	var shown []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		shown = append(shown, url.QueryEscape(name)+"="+url.QueryEscape(values[name]))
	}
	return strings.Join(shown, ",")
}
