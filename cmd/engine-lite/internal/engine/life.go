package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// life is the stdio of one run of a process, from before its start, so that
// clients can attach first, until its output is drained.
type life struct {
	terminal bool
	stdin    bool
	once     bool // stdin is closed when its first client has gone
	// note makes the wish to close stdin durable; nil where nothing does.
	note   func()
	output *logs.Output
	group  *sync.WaitGroup // of the goroutines that read from clients

	mu      sync.Mutex
	streams libcontainerd.Streams
	closed  bool // stdin was asked to be closed
	begun   bool // the output is being moved
	// opened is closed when the streams are there, ended when there will be
	// no more of them.
	opened, ended chan struct{}
	over          bool
	clients       int

	// abandoned is closed when nobody wants the rest of the output any more.
	abandoned chan struct{}
	abandon   func() // closes it; may be called again
}

// lifeConfig says what a process's stdio is like.
type lifeConfig struct {
	terminal, stdin, once bool
	rawDir                string
	// logPath is the json-file; empty where nothing is logged.
	logPath string
}

func (e *Engine) newLife(c lifeConfig) (*life, error) {
	output, err := logs.Open(logs.Config{Dir: c.rawDir, LogPath: c.logPath, Bound: e.opts.OutputBound})
	if err != nil {
		return nil, err
	}
	l := &life{
		terminal: c.terminal, stdin: c.stdin, once: c.once, output: output, group: &e.clients,
		opened: make(chan struct{}), ended: make(chan struct{}), abandoned: make(chan struct{}),
	}
	l.abandon = sync.OnceFunc(func() { close(l.abandoned) })
	return l, nil
}

// attach takes the process's streams.
func (l *life) attach(s libcontainerd.Streams) {
	l.mu.Lock()
	l.streams = s
	closed := l.closed
	l.mu.Unlock()
	if closed {
		closeStdin(s)
	}
	close(l.opened)
}

// begin starts to move the process's output.
func (l *life) begin() {
	l.mu.Lock()
	s := l.streams
	l.begun = true
	l.mu.Unlock()
	l.output.Start(source(s.Stdout()), source(s.Stderr()))
}

// source keeps a nil output a nil source.
func source(o libcontainerd.Output) logs.Source {
	if o == nil {
		return nil
	}
	return o
}

func closeStdin(s libcontainerd.Streams) {
	if in := s.Stdin(); in != nil {
		_ = in.Close()
	}
}

// closeStdin is the wish to close stdin, now or as soon as there is one. It is
// written down before it is done.
func (l *life) closeStdin() {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	s := l.streams
	l.mu.Unlock()
	if first && l.note != nil {
		l.note()
	}
	if s != nil {
		closeStdin(s)
	}
}

// input waits for the process's stdin. It is io.EOF where the process is gone
// or never came.
func (l *life) input() (io.Writer, error) {
	select {
	case <-l.opened:
	case <-l.ended:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil, io.EOF
	}
	if in := l.streams.Stdin(); in != nil {
		return in, nil
	}
	return nil, io.EOF
}

// stdinClosed tells whether stdin was asked to be closed.
func (l *life) stdinClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// errStalled says that the disk doesn't take the rest of an ended process's
// output.
var errStalled = errors.New("the rest of the output waits for the disk")

// drained waits until all output of the process, which has ended, is in the
// log. Clients that read slowly can't delay it; errStalled where the disk does.
func (l *life) drained(ctx context.Context) error {
	l.output.Exited()
	select {
	case <-l.output.Drained():
		return nil
	case <-l.output.Stalled():
		if !l.unread() {
			return nil // the disk has taken all since
		}
		return errStalled
	case <-ctx.Done():
		return fmt.Errorf("the rest of the output is left to the next engine: %w", context.Cause(ctx))
	}
}

// unread tells whether a process's output is there that isn't in the log yet.
func (l *life) unread() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.output.Drained():
		return false
	default:
		return l.begun
	}
}

// join counts a client in; it fails once the life has ended. leave counts it
// out, and the last one to leave an ended life frees the output.
func (l *life) join() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.clients++
	return true
}

func (l *life) leave() error {
	l.mu.Lock()
	l.clients--
	free := l.over && l.clients == 0
	l.mu.Unlock()
	if free {
		return l.output.Close()
	}
	return nil
}

// end says that nothing more comes: the raw files lose their names, clients
// read on to the end of what there is. A process that never came has no output.
func (l *life) end() error {
	l.output.Start(nil, nil)
	return errors.Join(l.output.Remove(), l.suspend())
}

// endDrained is end once all output is in the log, which may take as long as a
// disk is full, or was abandoned. Where ctx ends first the next engine goes on.
func (l *life) endDrained(ctx context.Context) error {
	select {
	case <-l.output.Drained():
	case <-l.abandoned:
	case <-ctx.Done():
		return l.suspend()
	}
	return l.end()
}

// suspend stops moving the output and leaves its files, as when the engine goes
// down.
func (l *life) suspend() error {
	l.mu.Lock()
	first := !l.over
	l.over = true
	free := first && l.clients == 0
	s := l.streams
	l.mu.Unlock()
	if first {
		close(l.ended)
	}
	err := closeOutputs(s)
	if free {
		err = errors.Join(err, l.output.Close())
	}
	return err
}

func closeOutputs(s libcontainerd.Streams) error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, o := range []libcontainerd.Output{s.Stdout(), s.Stderr()} {
		if o != nil {
			errs = append(errs, o.Close())
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) containerDir(id string) string { return filepath.Join(e.opts.Root, "containers", id) }

func (e *Engine) logPath(r *record.Record) string {
	if r.HostConfig.LogConfig.Type == "none" {
		return ""
	}
	return filepath.Join(e.containerDir(r.ID), r.ID+"-json.log")
}

// rawDir is where the output of a container's run is before it is in the log.
func (e *Engine) rawDir(id string) string { return filepath.Join(e.containerDir(id), "raw") }

func (e *Engine) newContainerLife(r *record.Record) (*life, error) {
	return e.newLife(lifeConfig{
		terminal: r.Config.Tty, stdin: r.Config.OpenStdin, once: r.Config.StdinOnce,
		rawDir: e.rawDir(r.ID), logPath: e.logPath(r),
	})
}

// lifeOf returns the stdio of the container's run under way, or of its next
// one, which has to wait until nothing of the last one is left; Conflict where
// there will be none, since the container is being removed.
func (e *Engine) lifeOf(ctx context.Context, o *task) (*life, error) {
	for {
		l, cleanup, err := e.makeLife(o)
		if cleanup == nil {
			return l, err
		}
		select {
		case <-cleanup:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// makeLife is lifeOf, but for the wait: it returns the clean-up that has to be
// waited for. The files of the last run have the names of the next one's.
func (e *Engine) makeLife(o *task) (_ *life, cleanup <-chan struct{}, _ error) {
	o.making.Lock()
	defer o.making.Unlock()
	o.LockState()
	l, r, err := o.life, o.Rec, o.lifelessLocked()
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
	l, err = e.newContainerLife(r)
	if err != nil {
		return nil, nil, err
	}
	l.note = func() { e.noteStdinClosed(o, l) }
	o.LockState()
	err = o.lifelessLocked()
	if err == nil {
		o.life = l
	}
	o.UnlockState()
	if err != nil {
		return nil, nil, errors.Join(err, l.end())
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

// lifelessLocked is why the container has no further run.
func (o *task) lifelessLocked() error {
	if o.Gone || o.Rec.Status == record.StatusRemoving {
		return classed.Errorf(errdefs.ErrConflict, "container %s is being removed", o.ID)
	}
	return nil
}

// endLife ends the life that there is, or that is being made. The next one is
// made when its files are gone.
func (o *task) endLife() error {
	o.making.Lock()
	defer o.making.Unlock()
	o.LockState()
	l := o.life
	o.life = nil
	o.UnlockState()
	if l == nil {
		return nil
	}
	return l.end()
}
