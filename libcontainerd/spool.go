package libcontainerd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// SpoolOptions say where a spool keeps its bytes, and how many.
type SpoolOptions struct {
	// File is an empty regular file, open for reading and writing and not for
	// appending; the spool closes it. nil is memory.
	File *os.File
	// Bound is how many of the latest bytes are kept at least, for readers who
	// are that far behind; 0 is 1 MiB. Up to a quarter more may be there.
	Bound int64
}

const (
	defaultBound = 1 << 20
	spoolChunk   = 1 << 20
	// holeUnit is what the end of a hole is a multiple of: whole blocks and pages.
	holeUnit = 64 << 10
)

// Spool moves an Output, as it comes, to where any number of readers read it,
// each at its own offset. Nobody waits for a reader: one that is slow, or stuck,
// falls behind the bytes that are kept and is told so; the process, its exit and
// the other readers go on. So a Backend that gives its streams to spools in
// AttachStreams waits in DrainStreams for Done, and for no client.
type Spool struct {
	output Output
	file   *os.File
	bound  int64
	moving sync.WaitGroup
	done   chan struct{}

	mu       sync.Mutex
	changed  sync.Cond
	from, to int64 // the bytes that are kept
	end      error // why no more come; io.EOF at the output's end
	closed   bool
}

// NewSpool begins to move an output, which is the spool's from here on, with a
// goroutine that ends with the output, or with Close.
func NewSpool(o Output, opts SpoolOptions) (*Spool, error) {
	if o == nil || opts.Bound < 0 {
		return nil, fmt.Errorf("a spool needs an output and a bound: %w", errdefs.ErrInvalidArgument)
	}
	s := &Spool{output: o, file: opts.File, bound: opts.Bound, done: make(chan struct{})}
	s.changed.L = &s.mu
	if s.bound == 0 {
		s.bound = defaultBound
	}
	if s.file == nil {
		fd, err := unix.MemfdCreate("spool", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("cannot make a spool: %w", os.NewSyscallError("memfd_create", err))
		}
		s.file = os.NewFile(uintptr(fd), "spool")
	}
	s.moving.Go(s.move)
	return s, nil
}

func (s *Spool) move() {
	defer close(s.done)
	for at := int64(0); ; {
		n, err := s.output.Splice(s.file, at, spoolChunk)
		at += n
		s.advance(at, err)
		if err != nil {
			return
		}
	}
}

// advance makes the bytes up to to readable, and frees what is kept no longer.
func (s *Spool) advance(to int64, end error) {
	s.mu.Lock()
	from := s.from
	s.to, s.end = to, end
	if to-from > s.bound+max(s.bound/4, holeUnit) {
		s.from = (to - s.bound) / holeUnit * holeUnit
	}
	length := s.from - from
	s.mu.Unlock()
	s.changed.Broadcast()
	if length <= 0 {
		return
	}
	// Readers look once more at where the kept bytes begin after they have read. A
	// file that can't have holes keeps all.
	raw, err := s.file.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.Fallocate(int(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, length)
		})
	}
}

// Kept are the offsets of the first byte that is kept and of the next that comes.
func (s *Spool) Kept() (from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from, s.to
}

// Done is closed when the output has ended and all of it can be read.
func (s *Spool) Done() <-chan struct{} { return s.done }

// Close closes the output and the file, ends all readers, and joins the
// goroutine. The error is that of the output, if it broke before its end.
func (s *Spool) Close() error {
	err := s.output.Close()
	s.moving.Wait()
	s.mu.Lock()
	already := s.closed
	s.closed = true
	end := s.end
	s.mu.Unlock()
	s.changed.Broadcast()
	if already {
		return nil
	}
	if errors.Is(end, io.EOF) || errors.Is(end, os.ErrClosed) {
		end = nil
	}
	return errors.Join(err, end, s.file.Close())
}

// Reader returns a reader that begins with the byte of number offset, counted
// from 0; that may be yet to come. Any number of them read at once.
func (s *Spool) Reader(offset int64) *SpoolReader {
	return &SpoolReader{spool: s, at: offset}
}

// SpoolReader is one reader of a Spool. One Read runs at a time; Close may be
// called at any time.
type SpoolReader struct {
	spool  *Spool
	at     int64
	closed bool // guarded by the spool's mu
}

// Offset is the number of the byte that comes next. It isn't for use beside a
// Read.
func (r *SpoolReader) Offset() int64 { return r.at }

// Read waits for output and reads some.
//
// Errors: io.EOF at the output's end; OutOfRange where the reader is behind the
// bytes that are kept, with their offsets: a new one may begin there;
// os.ErrClosed once the reader, the spool or the output was closed, and the
// output's own.
func (r *SpoolReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	to, err := r.await()
	if err != nil {
		return 0, err
	}
	n, err := r.spool.file.ReadAt(p[:min(int64(len(p)), to-r.at)], r.at)
	if from, to := r.spool.Kept(); r.at < from {
		return 0, r.cutOff(from, to)
	}
	r.at += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// await waits until there is something to read, and returns where it ends.
func (r *SpoolReader) await() (to int64, err error) {
	s := r.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case r.closed || s.closed:
			return 0, os.ErrClosed
		case r.at < s.from:
			return 0, r.cutOff(s.from, s.to)
		case r.at < s.to:
			return s.to, nil
		case s.end != nil:
			return 0, s.end
		}
		s.changed.Wait()
	}
}

func (r *SpoolReader) cutOff(from, to int64) error {
	return fmt.Errorf("reader at byte %d was cut off: bytes %d to %d are kept: %w", r.at, from, to, errdefs.ErrOutOfRange)
}

// Close ends a Read that waits.
func (r *SpoolReader) Close() error {
	r.spool.mu.Lock()
	r.closed = true
	r.spool.mu.Unlock()
	r.spool.changed.Broadcast()
	return nil
}
