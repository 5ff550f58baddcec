package fifo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/fifo"
	"golang.org/x/sys/unix"
)

// Stdin is the engine's end of a process's stdin.
//
// Three things have to happen before it is closed, in any order: [Stdin.Close], which
// a client of the engine may ask for at any time; [Stdin.Release], which the engine calls
// when the runtime daemon's create (for an exec: start) has returned; and somebody has
// opened the FIFO for reading. The last of the three closes the pipe. Then it calls
// closeIO, which has the runtime daemon close the end that it holds, see [OpenHold].
// [Stdin.Abort] closes the pipe without any of them, and doesn't call closeIO.
//
// The reader must be there, since a close that comes before it is lost: an open for
// reading waits for a writer, and none comes any more, see fifo(7). The shims of
// containerd open their end in the background, on a busy machine long after create has
// returned. A reader that has not come a minute after the two calls comes no more: the
// process has closed its stdin. The pipe is closed without it.
//
// For a restart of the engine between Close and Release, store the close before the
// call of Close. After the restart, call Close on the Stdin that [Set.OpenStdin]
// returns.
//
// While the pipe is being opened, a Stdin has up to two goroutines. They end when the
// process opens its end, when the context of OpenStdin is done, or when the pipe is
// closed. A goroutine that closes the pipe then ends when closeIO has returned. The
// caller must Close and Release the Stdin, or Abort it; Abort is needed too where no
// process may open its end any more.
type Stdin struct {
	pipe   pipe
	opened chan struct{} // closed when somebody has opened the FIFO for reading
	done   chan struct{} // closed when the pipe is closed and closeIO has returned
	ending chan struct{} // closed when the pipe is about to be closed
	wg     sync.WaitGroup

	shut func() error // closes pipe, once; later callers wait for the first

	mu         sync.Mutex
	closeAsked bool
	released   bool
	settled    bool          // the pipe is opened, or nobody waits for that any more
	patience   time.Duration // how long a reader is waited for after Close and Release
	givingUp   *time.Timer   // runs meanwhile; nil before
	ended      bool          // somebody closes the pipe, or has closed it
	closeIO    func() error
	cause      error // why opening was given up
}

// pipe is the type that containerd's package fifo returns. A write waits until the other
// end is open; the pipe can be closed before that.
type pipe interface {
	io.WriteCloser
	syscall.Conn
}

// OpenStdin opens the engine's end of stdin for writing only, so that a Write fails with
// EPIPE when the process is gone. It returns at once. Until the process opens its end,
// Write waits.
//
// ctx bounds the opening, and nothing after it. If ctx is done before the process opens
// its end, every Write fails with the cause of ctx; Close and Release work as usual. ctx
// must not end before the runtime daemon's create (for an exec: start) has returned.
//
// Errors are those of [Set.OpenStdout].
func (s *Set) OpenStdin(ctx context.Context) (*Stdin, error) {
	p, err := s.pin(ctx, stdinName)
	if err != nil {
		return nil, fmt.Errorf("cannot open stdin: %w", err)
	}
	defer p.close()
	// OpenFifo gets no context that ends: it would call Close then, and two calls of
	// its Close at once are not safe. It pins the inode again before it returns.
	end, err := fifo.OpenFifo(context.Background(), p.procPath(), unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open stdin: %w", classed(err))
	}
	return newStdin(ctx, end.(pipe)), nil
}

func newStdin(ctx context.Context, end pipe) *Stdin {
	s := &Stdin{
		pipe:   end,
		opened: make(chan struct{}),
		done:   make(chan struct{}),
		ending: make(chan struct{}),

		patience: readerPatience,
	}
	s.shut = sync.OnceValue(s.pipe.Close)
	s.wg.Go(s.await)
	s.wg.Go(func() { s.watch(ctx) })
	return s
}

// await waits until the pipe is opened or closed.
func (s *Stdin) await() {
	raw, err := s.pipe.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { growPipe(int(fd)) })
	}
	s.settle()
	if err == nil {
		close(s.opened)
	}
}

// readerPatience is longer than a shim of containerd takes to open its end on the busiest machine. While it lasts, a
// thread waits in open(2).
const readerPatience = time.Minute

// settle has the pipe closed if only its opening was missing for that.
func (s *Stdin) settle() {
	s.mu.Lock()
	s.settled = true
	s.stopTimerLocked()
	closeIO, mine := s.claimLocked()
	s.mu.Unlock()
	if mine {
		go func() { _ = s.end(closeIO) }() // ends with closeIO; end waits for the caller
	}
}

// watch closes the pipe if ctx is done before the pipe is opened. It ends then, or when
// the pipe is opened or about to be closed.
func (s *Stdin) watch(ctx context.Context) {
	select {
	case <-s.opened:
		return
	case <-s.ending:
		return
	case <-ctx.Done():
	}
	select {
	case <-s.opened:
		return
	default:
	}
	s.mu.Lock()
	s.cause = context.Cause(ctx)
	s.mu.Unlock()
	// end calls shut too, and returns its error.
	_ = s.shut()
	s.settle()
}

// Write writes all of p. It waits until the process opens stdin, and while the pipe is
// full.
//
// Errors: os.ErrClosed after Close or Abort, also for a Write that waits while the pipe
// is closed; EPIPE when no process has stdin open for reading any more; the cause of
// OpenStdin's context if that was done too early; an error without a class if opening
// failed in the background because no descriptor was free.
func (s *Stdin) Write(p []byte) (int, error) {
	if err := s.refusal(); err != nil {
		return 0, fmt.Errorf("cannot write stdin: %w", err)
	}
	n, err := s.pipe.Write(p)
	if err == nil {
		return n, nil
	}
	if refusal := s.refusal(); refusal != nil {
		err = refusal
	}
	return n, fmt.Errorf("cannot write stdin: %w", err)
}

// refusal returns the error of a Write that must not be tried, else nil.
func (s *Stdin) refusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	if s.closeAsked || s.ended {
		return os.ErrClosed
	}
	return nil
}

// Close asks to close stdin. From now on Write fails. If Release was called before and the
// FIFO is open for reading, Close closes the pipe, calls closeIO and returns their errors.
// Else it returns nil at once, and what comes last closes the pipe. A Write in progress
// goes on until the pipe is closed. A second Close does nothing.
func (s *Stdin) Close() error {
	s.mu.Lock()
	s.closeAsked = true
	closeIO, mine := s.claimLocked()
	s.mu.Unlock()
	if !mine {
		return nil
	}
	return s.end(closeIO)
}

// Release permits stdin to be closed: the runtime daemon's create (for an exec: start) has
// returned. closeIO, which may be nil, has the daemon close the end that it holds. closeIO
// is called at most once, without a lock, after the pipe was closed: by this Release, a
// later Close, or a goroutine if the FIFO is opened for reading after both. What closeIO
// returns to the goroutine is dropped.
//
// If Close was called before and the FIFO is open for reading, Release closes the pipe,
// calls closeIO and returns their errors. Else it returns nil at once. A second Release
// does nothing, and neither does one after Abort.
func (s *Stdin) Release(closeIO func() error) error {
	s.mu.Lock()
	if !s.released {
		s.released = true
		s.closeIO = closeIO
	}
	closeIO, mine := s.claimLocked()
	s.mu.Unlock()
	if !mine {
		return nil
	}
	return s.end(closeIO)
}

// claimLocked reports whether the caller has to close the pipe and call closeIO.
func (s *Stdin) claimLocked() (closeIO func() error, mine bool) {
	if s.ended || !s.closeAsked || !s.released {
		return nil, false
	}
	if !s.settled {
		if s.givingUp == nil {
			s.givingUp = time.AfterFunc(s.patience, s.settle)
		}
		return nil, false
	}
	s.ended = true
	return s.closeIO, true
}

func (s *Stdin) stopTimerLocked() {
	if s.givingUp != nil {
		s.givingUp.Stop()
	}
}

func (s *Stdin) end(closeIO func() error) error {
	defer close(s.done)
	close(s.ending)
	err := s.shut()
	s.wg.Wait()
	if closeIO == nil {
		return err
	}
	return errors.Join(err, closeIO())
}

// Abort closes the pipe at once, without Close and Release, and without closeIO: for a
// process that was never made, or has exited. It does nothing if the pipe is being closed
// already.
func (s *Stdin) Abort() error {
	s.mu.Lock()
	mine := !s.ended
	s.ended = true
	s.stopTimerLocked()
	s.mu.Unlock()
	if !mine {
		return nil
	}
	return s.end(nil)
}

// Done returns a channel that is closed when the pipe is closed and closeIO, if it is
// called, has returned.
func (s *Stdin) Done() <-chan struct{} {
	return s.done
}
