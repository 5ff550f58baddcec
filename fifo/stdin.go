package fifo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/containerd/fifo"
	"golang.org/x/sys/unix"
)

// Stdin is the engine's end of a process's stdin.
//
// Closing it takes two: the wish, [Stdin.Close], that comes from the client and
// may come at any time, and the permission, [Stdin.Release], that comes when
// the process has opened its end (create, for an exec start, has returned).
// Whichever comes second closes the pipe and then tells the runtime daemon to
// let go of the end that it holds:
//
//	open --Close--> wished ---Release---+
//	  |                |                +--> pipe closed, closeIO called once
//	  +--Release--> allowed ---Close----+
//	  |                |
//	  +----------------+------Abort--------> pipe closed, closeIO not called
//
// To carry a wish over a restart, store it before calling Close, and call
// Close at once on what [Set.OpenStdin] returns afterwards.
//
// While it is being opened it has up to two goroutines, which end when the
// process opens its end, when ctx is done, and with the pipe. It has to be
// closed or aborted in the end.
type Stdin struct {
	pipe   pipe
	opened chan struct{} // closed by await, if it came to that
	done   chan struct{} // closed when everything is over
	ending chan struct{} // closed when the pipe is about to be closed
	wg     sync.WaitGroup

	shut func() error // closes pipe, once; later callers wait for the first

	mu      sync.Mutex
	wished  bool
	allowed bool
	over    bool // one of Close, Release and Abort has taken the end on itself
	closeIO func() error
	cause   error // why opening was given up
}

// pipe is what containerd's fifo package returns: it writes once the other end
// is open, and can be closed before that.
type pipe interface {
	io.WriteCloser
	syscall.Conn
}

// OpenStdin opens the engine's end of stdin, for writing only, so that a process
// that is gone is EPIPE. It returns at once; until the process opens its end,
// Write waits. ctx bounds this opening and nothing after it: if ctx is done
// earlier, every Write fails with its cause, while Close and Release
// still do their part. (At the very moment of opening either may win: let ctx
// live until create, or start, has returned.)
//
// Errors: as for [Set.OpenStdout].
func (s *Set) OpenStdin(ctx context.Context) (*Stdin, error) {
	p, err := s.pin(ctx, stdinName)
	if err != nil {
		return nil, fmt.Errorf("cannot open stdin: %w", err)
	}
	defer p.close()
	// Its context is not ours: on cancellation it would call Close, and it is
	// not safe against two of them. It pins the inode anew before it returns.
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
	}
	s.shut = sync.OnceValue(s.pipe.Close)
	s.wg.Go(s.await)
	s.wg.Go(func() { s.watch(ctx) })
	return s
}

// await ends when the pipe is opened or closed.
func (s *Stdin) await() {
	raw, err := s.pipe.SyscallConn()
	if err != nil {
		return
	}
	if err := raw.Control(func(fd uintptr) { growPipe(int(fd)) }); err != nil {
		return
	}
	close(s.opened)
}

// watch gives the opening up when ctx is done before it succeeded. It ends then,
// or when the pipe is opened or about to be closed.
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
	// An error of the close is the one that end gets to see, and returns.
	_ = s.shut()
}

// Write writes all of p, and waits for it: until the process opens stdin, and
// whenever the pipe is full.
//
// Errors: os.ErrClosed after Close or Abort, also for a Write that waits when
// the pipe is closed in the end; EPIPE once nobody can read stdin any more; the
// cause of OpenStdin's context if it was done too early; an error without a
// class if opening failed in the background, for want of a descriptor.
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

// refusal says why nothing can be written, nil if it can.
func (s *Stdin) refusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	if s.wished || s.over {
		return os.ErrClosed
	}
	return nil
}

// Close is the wish to close stdin: from now on Write is refused. If Release
// was called before, the pipe is closed now and closeIO called, and Close
// returns their errors; else it returns nil at once and Release will do it.
// A second Close does nothing. A Write that is under way goes on until the
// pipe is closed.
func (s *Stdin) Close() error {
	s.mu.Lock()
	s.wished = true
	closeIO, mine := s.claimLocked()
	s.mu.Unlock()
	if !mine {
		return nil
	}
	return s.end(closeIO)
}

// Release is the permission to close stdin: the process has its end. closeIO
// (may be nil) asks the runtime daemon to let go of the end that it holds. It is
// called at most once, by this call or a later Close, without a lock, and after
// the pipe was closed. If the wish was there before, Release closes now
// and returns the errors of the pipe and of closeIO; else it returns nil at once.
//
// A second Release does nothing, nor does one after Abort.
func (s *Stdin) Release(closeIO func() error) error {
	s.mu.Lock()
	if !s.allowed {
		s.allowed = true
		s.closeIO = closeIO
	}
	closeIO, mine := s.claimLocked()
	s.mu.Unlock()
	if !mine {
		return nil
	}
	return s.end(closeIO)
}

// claimLocked says whether the caller has to end it all now.
func (s *Stdin) claimLocked() (closeIO func() error, mine bool) {
	if s.over || !s.wished || !s.allowed {
		return nil, false
	}
	s.over = true
	return s.closeIO, true
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

// Abort closes the pipe at once, whatever was wished or permitted, and never
// calls closeIO: there is no process to close it for, or none any more. It
// does nothing where Close and Release have been at work already.
func (s *Stdin) Abort() error {
	s.mu.Lock()
	mine := !s.over
	s.over = true
	s.mu.Unlock()
	if !mine {
		return nil
	}
	return s.end(nil)
}

// Done returns a channel that is closed when the pipe is closed and closeIO,
// where it was due, has returned.
func (s *Stdin) Done() <-chan struct{} {
	return s.done
}
