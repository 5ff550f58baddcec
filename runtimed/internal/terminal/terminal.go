package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

const (
	spliceSize = 32 << 10        // bytes moved at once
	drainBound = 2 * time.Second // for the rest of the output to find room in a full FIFO that can't grow
	largest    = 1 << 20         // bytes to which a full FIFO may grow for the rest: the most that needs no capability
)

// Terminal moves a terminal's bytes: from its master into the stdout FIFO and from the stdin FIFO into its master. It
// does so by splice(2), so that a kill -9 can't lose what was read and not yet written. All descriptors are
// non-blocking and in the Go runtime's one epoll loop: an idle terminal is two parked goroutines, which close ends.
type Terminal struct {
	master  *os.File
	in, out *os.File // nil without that stream
	work    sync.WaitGroup
	written chan struct{} // closed when all output is in the FIFO
	closing atomic.Bool
	patient bool // the FIFO can't grow; used by output only
	failed  func(stream string, err error)
}

// New takes the master over and opens the FIFOs. An empty path means that there is no such stream. failed is called
// for an error that stops a stream before its end.
func New(master *os.File, stdin, stdout string, failed func(string, error)) (*Terminal, error) {
	t := &Terminal{master: master, written: make(chan struct{}), failed: failed}
	var err error
	if stdout != "" {
		t.out, err = openStream(stdout)
	}
	if err == nil && stdin != "" {
		t.in, err = openStream(stdin)
	}
	if err != nil {
		t.closeFiles()
		return nil, err
	}
	t.work.Go(t.output)
	if t.in != nil {
		t.work.Go(t.input)
	}
	return t, nil
}

// openStream opens a FIFO so that it neither ends nor breaks when its other end goes.
func openStream(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the terminal's stream: %w", statefile.Classed(err))
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != os.ModeNamedPipe {
		err = fmt.Errorf("%q is not a FIFO: %w", path, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (t *Terminal) output() {
	defer close(t.written)
	var err error
	if t.out == nil {
		_, err = io.Copy(io.Discard, t.master)
	} else {
		err = move(t.master, t.out, t.awaitRoom)
	}
	t.report("output", err)
}

func (t *Terminal) input() { t.report("input", move(t.in, t.master, awaitWritable)) }

// awaitRoom waits for room in the stdout FIFO. Once the process has ended, it makes room: the FIFO holds what was in
// the terminal, for a reader that is slow or away, and outlives this daemon. A terminal holds some 12 KiB
// (N_TTY_BUF_SIZE and pty_common_install in the kernel), so that doubling the FIFO once is enough. Package fifo leaves
// room for that: a FIFO of its size may have twice as much without CAP_SYS_RESOURCE. Where the kernel allows no larger
// FIFO, awaitRoom waits for drainBound.
func (t *Terminal) awaitRoom(fifo syscall.RawConn) error {
	err := awaitWritable(fifo)
	if !errors.Is(err, os.ErrDeadlineExceeded) || t.patient {
		return err
	}
	if grow(fifo) {
		return nil
	}
	t.patient = true
	if err := t.out.SetWriteDeadline(time.Now().Add(drainBound)); err != nil {
		return err
	}
	return awaitWritable(fifo)
}

// grow doubles a FIFO, and reports whether the kernel's limits allowed that: see pipe(7).
func grow(fifo syscall.RawConn) (grown bool) {
	err := fifo.Control(func(fd uintptr) {
		size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		if err != nil || size >= largest {
			return
		}
		_, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 2*size)
		grown = err == nil
	})
	return err == nil && grown
}

// report passes an error on that isn't one of the ways in which a stream ends.
func (t *Terminal) report(stream string, err error) {
	switch {
	case err == nil, t.closing.Load(), errors.Is(err, unix.EIO), errors.Is(err, os.ErrDeadlineExceeded):
	default:
		t.failed(stream, err)
	}
}

// Resize sets the window's size in characters.
func (t *Terminal) Resize(width, height uint32) error {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	size := &unix.Winsize{Col: uint16(min(width, 1<<16-1)), Row: uint16(min(height, 1<<16-1))}
	var ioctlErr error
	if err := raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ,
			size)
	}); err != nil {
		return fmt.Errorf("cannot resize a terminal that is closed: %v: %w", err, errdefs.ErrFailedPrecondition)
	}
	return ioctlErr
}

// CloseInput ends the input after what is in the FIFO now.
func (t *Terminal) CloseInput() error {
	if t.in == nil {
		return nil
	}
	return finish(t.in)
}

// Drain waits until all that the ended process wrote is in the FIFO. If the FIFO is full and can't grow, Drain waits
// for drainBound at most.
func (t *Terminal) Drain() {
	if t.out != nil {
		t.out.SetWriteDeadline(pastDeadline) // can only fail once closed, and then there is nothing to bound
	}
	if finish(t.master) == nil {
		<-t.written
	}
}

// Close ends the goroutines and closes all descriptors, the master among them. It may be called once.
func (t *Terminal) Close() {
	t.closing.Store(true)
	t.closeFiles()
	t.work.Wait()
}

func (t *Terminal) closeFiles() {
	for _, f := range []*os.File{t.master, t.in, t.out} {
		if f != nil {
			f.Close() // nothing is buffered here
		}
	}
}
