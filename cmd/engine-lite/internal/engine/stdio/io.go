// Package stdio is the stdio of the processes of containers, from before a process starts until all of its output is
// read.
//
// An [IO] has the streams of one run of a process, moves the output to the log, and serves attached clients. Package
// heldstdio makes the streams, and gives the keeper a hold of them, so that the next engine goes on where this one stood.
package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/background"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/heldstdio"
	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

var _ heldstdio.Process = (*IO)(nil)

// IO is the stdio of one run of a process, from before its start, so that
// clients can attach first, until its output is drained.
type IO struct {
	Terminal bool
	Stdin    bool
	once     bool // stdin is closed when its first client has gone
	note     func(*IO)
	Output   *logs.Output
	group    *background.Goroutines // of the goroutines that read from clients

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
	Abandon   func() // closes it; may be called again
}

// Config says how the stdio of a process is.
type Config struct {
	Terminal, Stdin bool
	// Once tells that stdin is closed when its first client has gone.
	Once bool
	// StdinClosed tells that stdin was closed, or is to be.
	StdinClosed bool
	// Note makes the wish to close stdin durable, before stdin is closed; nil where nothing does.
	Note func(*IO)
	// RawDir is the directory of the output that is not in the log yet.
	RawDir string
	// Log says how the output is logged; its zero value where nothing is.
	Log logs.Log
	// Bound is how many bytes of a stream are kept for clients that lag; 0 is logs.DefaultBound.
	Bound int64
	// Clients joins the goroutines that read from clients.
	Clients *background.Goroutines
}

// Open makes the stdio of a run that is about to begin, or that an earlier engine began.
func Open(c Config) (*IO, error) {
	output, err := logs.Open(logs.Config{Dir: c.RawDir, Log: c.Log, Bound: c.Bound})
	if err != nil {
		return nil, err
	}
	l := &IO{
		Terminal: c.Terminal, Stdin: c.Stdin, once: c.Once, closed: c.StdinClosed, note: c.Note, Output: output, group: c.Clients,
		opened: make(chan struct{}), ended: make(chan struct{}), abandoned: make(chan struct{}),
	}
	l.Abandon = sync.OnceFunc(func() { close(l.abandoned) })
	return l, nil
}

// Attach takes the process's streams.
func (l *IO) Attach(s libcontainerd.Streams) {
	l.mu.Lock()
	l.streams = s
	closed := l.closed
	l.mu.Unlock()
	if closed {
		closeStdin(s)
	}
	close(l.opened)
}

// Raw is the raw file of an output, by its name at the keeper.
func (l *IO) Raw(name string) (*os.File, error) { return l.Output.Raw(name) }

// Created starts to move the process's output. What came before is the OCI runtime's own complaint about a failed create,
// which reaches the caller as an error.
func (l *IO) Created() {
	l.mu.Lock()
	s := l.streams
	l.begun = true
	l.mu.Unlock()
	l.Output.Start(source(s.Stdout()), source(s.Stderr()))
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
func (l *IO) closeStdin() {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	s := l.streams
	l.mu.Unlock()
	if first && l.note != nil {
		l.note(l)
	}
	if s != nil {
		closeStdin(s)
	}
}

// input waits for the process's stdin. It is io.EOF where the process is gone
// or never came.
func (l *IO) input() (io.Writer, error) {
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

// SetStdinClosed says of a run that an earlier engine began whether its stdin was to be closed.
func (l *IO) SetStdinClosed(closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = closed
}

// StdinClosed tells whether stdin was asked to be closed.
func (l *IO) StdinClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// ErrStalled says that the disk doesn't take the rest of an ended process's
// output.
var ErrStalled = errors.New("the rest of the output waits for the disk")

// Drained waits until all output of the process, which has ended, is in the
// log. Clients that read slowly can't delay it; errStalled where the disk does.
func (l *IO) Drained(ctx context.Context) error {
	l.Output.Exited()
	select {
	case <-l.Output.Drained():
		return nil
	case <-l.Output.Stalled():
		if !l.Unread() {
			return nil // the disk has taken all since
		}
		return ErrStalled
	case <-ctx.Done():
	}
	if err := await.Closed(ctx, l.Output.Drained()); err != nil {
		return fmt.Errorf("the rest of the output is left to the next engine: %w", err)
	}
	return nil
}

// Unread tells whether a process's output is there that isn't in the log yet.
func (l *IO) Unread() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.Output.Drained():
		return false
	default:
		return l.begun
	}
}

// Join counts a client in; it fails once the IO has ended. Leave counts it
// out, and the last one to leave an ended IO frees the output.
func (l *IO) Join() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.clients++
	return true
}

func (l *IO) Leave() error {
	l.mu.Lock()
	l.clients--
	free := l.over && l.clients == 0
	l.mu.Unlock()
	if free {
		return l.Output.Close()
	}
	return nil
}

// End says that nothing more comes: the raw files lose their names, clients
// read on to the end of what there is. A process that never came has no output.
func (l *IO) End() error {
	l.Output.Start(nil, nil)
	return errors.Join(l.Output.Remove(), l.Suspend())
}

// EndDrained is end once all output is in the log, which may take as long as a
// disk is full, or was abandoned. Where ctx ends first the next engine goes on.
func (l *IO) EndDrained(ctx context.Context) error {
	select {
	case <-l.Output.Drained():
	case <-l.abandoned:
	case <-ctx.Done():
		return l.Suspend()
	}
	return l.End()
}

// Suspend stops moving the output and leaves its files, as when the engine goes
// down.
func (l *IO) Suspend() error {
	l.mu.Lock()
	first := !l.over
	l.over = true
	free := first && l.clients == 0
	s := l.streams
	l.mu.Unlock()
	if first {
		close(l.ended)
	}
	err := CloseOutputs(s)
	if free {
		err = errors.Join(err, l.Output.Close())
	}
	return err
}

func CloseOutputs(s libcontainerd.Streams) error {
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
