package api

import (
	"context"
	"io"
	"strconv"

	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/api/wire"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

func (h containerHandlers) logs(w *response, r *request) error {
	if format := r.query.Get("format"); format != "" && !r.version.before(54) {
		if format != "json" {
			return invalid("unsupported log format")
		}
		return notSupported("logs in the format json")
	}
	o, err := r.logsOptions()
	if err != nil {
		return err
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	l := &logAnswer{w: w, ctx: ctx, version: r.version, stdout: o.Stdout, stderr: o.Stderr}
	o.Open = l.open
	return l.finish(h.engine.ContainerLogs(ctx, r.name, o))
}

func (r *request) logsOptions() (engine.LogsOptions, error) {
	o := engine.LogsOptions{
		Stdout:     r.flag("stdout"),
		Stderr:     r.flag("stderr"),
		Follow:     r.flag("follow"),
		Timestamps: r.flag("timestamps"),
		Details:    r.flag("details"),
	}
	if !o.Stdout && !o.Stderr {
		return o, invalid("must specify at least one of 'stdout' or 'stderr'")
	}
	var err error
	o.Tail = parseTail(r.query.Get("tail"))
	if o.Since, err = r.moment("since"); err != nil {
		return o, err
	}
	o.Until, err = r.moment("until")
	return o, err
}

// parseTail reads a number of lines; -1 is all of them. As in Docker, all that is no number is "all".
func parseTail(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return max(n, -1)
}

// logAnswer is an answer that begins when the engine has found the log.
type logAnswer struct {
	w              *response
	ctx            context.Context
	version        version
	stdout, stderr bool
	end            func() error
}

// open is the Open of the engine's options.
func (l *logAnswer) open(terminal bool) (stdout, stderr io.Writer, err error) {
	l.w.Header().Set("Content-Type", outputType(l.version, terminal))
	l.w.Flush()
	var body io.Writer
	body, l.end = l.w.body(l.ctx)
	stdout, stderr = body, body
	if !terminal {
		m := &wire.Multiplexer{To: body}
		stdout, stderr = m.Stream(stdcopy.Stdout), m.Stream(stdcopy.Stderr)
	}
	if !l.stdout {
		stdout = nil
	}
	if !l.stderr {
		stderr = nil
	}
	return stdout, stderr, nil
}

func (l *logAnswer) finish(err error) error {
	if l.end == nil {
		return err
	}
	if endErr := l.end(); err == nil {
		err = endErr
	}
	if l.ctx.Err() != nil {
		return nil
	}
	return err
}
