package fifo

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// unmeasured is the value of Reader.left before the exit is known.
const unmeasured = -1

// Reader is the engine's end of a process's stdout or stderr.
//
// The FIFO is open read-write, so it has no end of file by itself: not before the
// process has opened it, and not between two writers. [Reader.Read] and
// [Reader.Splice] wait for bytes, without occupying a thread. They return io.EOF only
// after [Reader.ExitKnown] was called, when they have moved the bytes that were in the
// pipe at that moment. Bytes that a grandchild writes later are not waited for, and
// don't delay io.EOF, however many they are.
//
// One Read or Splice runs at a time; others wait for it. ExitKnown and Close may be
// called at any time. A Reader starts no goroutine. The caller must Close it.
type Reader struct {
	file *os.File // non-blocking, in the runtime's poller
	raw  syscall.RawConn
	id   Identity
	size int

	exited atomic.Bool
	closed atomic.Bool
	left   atomic.Int64 // bytes still to be read after the exit; only take and step change it
}

// NewReader returns a Reader of the FIFO behind a descriptor, for instance one that
// another process sent over SCM_RIGHTS (see unix(7)). If the descriptor is not open
// read-write, NewReader opens the FIFO again in that mode. No bytes are lost or copied.
// If it is open read-write, its open file description becomes non-blocking, also for
// other processes that share it.
//
// The Reader owns file from here on. After an error file still belongs to the caller.
// Errors: InvalidArgument if file is no pipe or FIFO, or is open for writing only;
// PermissionDenied if the FIFO may not be opened; os.ErrClosed.
func NewReader(file *os.File) (*Reader, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot read from %q: %w", file.Name(), err)
	}
	var reader *Reader
	var adoptErr error
	// Control fails on a closed file only, with an error that has no name.
	if err := raw.Control(func(fd uintptr) { reader, adoptErr = adopt(int(fd), file.Name()) }); err != nil {
		return nil, fmt.Errorf("cannot read from %q: %w", file.Name(), os.ErrClosed)
	}
	if adoptErr != nil {
		return nil, fmt.Errorf("cannot read from %q: %w", file.Name(), adoptErr)
	}
	file.Close()
	return reader, nil
}

// adopt makes a Reader with a descriptor of its own for the FIFO behind fd.
func adopt(fd int, name string) (*Reader, error) {
	st, err := statDescriptor(fd)
	if err != nil {
		return nil, err
	}
	if !st.isFIFO() {
		return nil, fmt.Errorf("not a FIFO: %w", errdefs.ErrInvalidArgument)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	if flags&unix.O_PATH != 0 || flags&unix.O_ACCMODE == unix.O_WRONLY {
		return nil, fmt.Errorf("not open for reading: %w", errdefs.ErrInvalidArgument)
	}
	own, err := readWrite(fd, flags)
	if err != nil {
		return nil, err
	}
	return newReader(own, name, st.id)
}

// readWrite returns a new read-write, non-blocking descriptor of fd's FIFO.
func readWrite(fd, flags int) (int, error) {
	if flags&unix.O_ACCMODE != unix.O_RDWR {
		return open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_NONBLOCK)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, classed(os.NewSyscallError("fcntl", err))
	}
	if err := unix.SetNonblock(own, true); err != nil {
		unix.Close(own)
		return -1, os.NewSyscallError("fcntl", err)
	}
	return own, nil
}

// newReader takes over fd, a read-write and non-blocking FIFO.
func newReader(fd int, name string, id Identity) (*Reader, error) {
	r := &Reader{file: os.NewFile(uintptr(fd), name), id: id, size: growPipe(fd)}
	r.left.Store(unmeasured)
	var err error
	if r.raw, err = r.file.SyscallConn(); err != nil {
		r.file.Close()
		return nil, fmt.Errorf("cannot read from %q: %w", name, err)
	}
	return r, nil
}

// Identity returns the FIFO's identity.
func (r *Reader) Identity() Identity {
	return r.id
}

// PipeSize returns how many bytes the pipe held at most when the Reader was made:
// 512 KiB if the kernel's limits allow it. A writer blocks while the pipe is full. A pipe
// is full with fewer bytes if they came in small pieces by splice(2), since each piece
// takes a page.
func (r *Reader) PipeSize() int {
	return r.size
}

// SyscallConn gives access to the descriptor, for instance to send a copy of it to
// another process over SCM_RIGHTS. The descriptor is non-blocking and must stay so.
func (r *Reader) SyscallConn() (syscall.RawConn, error) {
	return r.file.SyscallConn()
}

// Read waits until there is output, and reads up to len(p) bytes of it.
//
// Errors: io.EOF at the end, see [Reader]; os.ErrClosed once the Reader is closed.
// Close also ends a Read that waits.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.take(len(p), func(fd, limit int) (int, error) {
		return ignoringEINTR(func() (int, error) { return unix.Read(fd, p[:limit]) })
	})
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot read from %q: %w", r.file.Name(), err)
	}
	return n, err
}

// Pending waits until there is output, and returns how many bytes are in the pipe. The
// bytes stay there.
//
// Errors: as for Read.
func (r *Reader) Pending() (int, error) {
	n, err := r.wait(math.MaxInt, func(fd, limit int) (int, error) {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		switch {
		case err != nil:
			return 0, os.NewSyscallError("ioctl", err)
		case n == 0:
			return 0, unix.EAGAIN
		}
		return min(n, limit), nil
	})
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot read from %q: %w", r.file.Name(), err)
	}
	return n, err
}

// take is wait for a move that removes bytes from the pipe.
func (r *Reader) take(limit int, move func(fd, limit int) (int, error)) (int, error) {
	return r.wait(limit, func(fd, limit int) (int, error) {
		n, err := move(fd, limit)
		if left := r.left.Load(); err == nil && left != unmeasured {
			r.left.Store(left - int64(n))
		}
		return n, err
	})
}

// wait calls move with the descriptor and the number of bytes that it may move, each
// time that the pipe becomes readable, until move returns no EAGAIN.
func (r *Reader) wait(limit int, move func(fd, limit int) (int, error)) (int, error) {
	for {
		var n int
		var moveErr error
		err := r.raw.Read(func(fd uintptr) bool {
			n, moveErr = r.step(int(fd), limit, move)
			return !errors.Is(moveErr, unix.EAGAIN)
		})
		switch {
		case err == nil:
			return n, moveErr
		case r.closed.Load():
			return 0, os.ErrClosed
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		}
		// ExitKnown set the deadline, once, to end the wait in the poller.
		if err := r.file.SetReadDeadline(time.Time{}); err != nil {
			if r.closed.Load() {
				return 0, os.ErrClosed // package os exports no error for this case
			}
			return 0, err
		}
	}
}

// step is one attempt of wait, under the descriptor's read lock. Once the exit is known,
// step never returns EAGAIN. It reads the flag before it looks at the pipe, so that it
// sees everything that the process wrote before its exit.
func (r *Reader) step(fd, limit int, move func(fd, limit int) (int, error)) (int, error) {
	if !r.exited.Load() {
		return move(fd, limit)
	}
	if r.left.Load() == unmeasured {
		inPipe, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err != nil {
			return 0, os.NewSyscallError("ioctl", err)
		}
		r.left.Store(int64(inPipe))
	}
	left := r.left.Load()
	if left == 0 {
		return 0, io.EOF
	}
	n, err := move(fd, int(min(left, int64(limit))))
	if errors.Is(err, unix.EAGAIN) {
		// Another process has read the bytes, or they were cut off with the end of
		// a packet (O_DIRECT, see pipe(2)). No more bytes come.
		r.left.Store(0)
		return 0, io.EOF
	}
	return n, err
}

// ExitKnown says that the process has exited. The Reader then ends after the bytes that
// are in the pipe now. A Read that waits on an empty pipe returns io.EOF. ExitKnown may
// be called again.
//
// If another process copies the output into the FIFO, as containerd's shims do, more
// bytes may come after the exit. Call ExitKnown when that process has copied
// everything: a shim has when the task is deleted.
func (r *Reader) ExitKnown() {
	if r.exited.Swap(true) {
		return
	}
	// This fails only if the file is closed, and then no Read waits.
	_ = r.file.SetReadDeadline(time.Unix(1, 0))
}

// Close closes the Reader's descriptor, and ends a Read or Splice that waits. The FIFO
// and other descriptors of it stay. Close may be called again.
func (r *Reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	return r.file.Close()
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}
