// Package spool keeps the output of a process for several readers, within a bound.
//
// The package is for an engine that embeds package libcontainerd and has several clients attached to one container. The
// daemon engine-lite does not use it: its output goes to files that also outlive a killed engine, and that its log
// reads.
package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Options say where a Spool keeps its bytes, and how many.
type Options struct {
	// File is a regular file that is open for reading and writing, without O_APPEND. The spool owns and closes it.
	// With nil the spool keeps its bytes in memory (memfd_create). The bytes that are in the file are the beginning of
	// the output, such as those that an earlier engine's spool or the keeper has moved there: the spool goes on at the
	// file's end. A hole at the file's beginning stands for bytes that are kept no longer.
	File *os.File
	// Bound is how many of the latest bytes the spool keeps at least, for readers that lag by that many. It is 0 or
	// more; 0 means 1 MiB. The spool may keep a quarter more, or 64 KiB more where that is larger.
	Bound int64
}

const (
	defaultBound = 1 << 20
	chunk        = 1 << 20
	// holeUnit is what the end of a hole is a multiple of: whole blocks and pages.
	holeUnit = 64 << 10
)

// Spool moves the bytes of an Output to a file or to memory as they come. Any number of readers read there, each at
// its own offset. Nothing waits for a reader: a slow or stuck reader falls behind the bytes that are kept, and its
// Read returns an error. The process, its exit and the other readers go on. So a Backend that gives its streams to
// spools in AttachStreams waits for Done in DrainStreams, and for no client.
type Spool struct {
	output libcontainerd.Output
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

// New begins to move an output, with a goroutine that ends when the output ends or Close is called. Unless it returns
// an error, the spool owns the output and opts.File: Close closes both. The error is of class InvalidArgument for no
// output or a negative bound; else it is the system's, for memory or the file.
func New(o libcontainerd.Output, opts Options) (*Spool, error) {
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
	if err := s.resume(); err != nil {
		if opts.File == nil {
			err = errors.Join(err, s.file.Close())
		}
		return nil, err
	}
	s.moving.Go(s.move)
	return s, nil
}

// resume sets which bytes the file has.
func (s *Spool) resume() error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("cannot use the file of a spool: %w", err)
	}
	s.to = info.Size()
	raw, err := s.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot use the file of a spool: %w", err)
	}
	var seekErr error
	err = raw.Control(func(fd uintptr) { s.from, seekErr = unix.Seek(int(fd), 0, unix.SEEK_DATA) })
	if errors.Is(seekErr, unix.ENXIO) { // no data, see lseek(2)
		s.from, seekErr = s.to, nil
	}
	if err := errors.Join(err, seekErr); err != nil {
		return fmt.Errorf("cannot find the first byte in the file of a spool: %w", err)
	}
	return nil
}

func (s *Spool) move() {
	defer close(s.done)
	for at := s.to; ; {
		n, err := s.output.Splice(s.file, at, chunk)
		at += n
		s.advance(at, err)
		if err != nil {
			return
		}
	}
}

// advance lets readers have the bytes before offset to, and frees the bytes that are kept no longer.
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
	// A reader looks again at where the kept bytes begin after it has read. A file that can't have holes keeps all
	// bytes.
	raw, err := s.file.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.Fallocate(int(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, length)
		})
	}
}

// Kept returns the offset of the first byte that is kept, and that of the next byte to come: the bytes from up to,
// and without, to can be read.
func (s *Spool) Kept() (from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from, s.to
}

// Done returns a channel that is closed when the output has ended, or has been closed or broken, and readers can
// have all of it.
func (s *Spool) Done() <-chan struct{} { return s.done }

// Err returns the error with which the output broke before its end, such as that of a full disk; nil while the output
// goes on, at its end, and after it was closed. What comes after that is in no file.
func (s *Spool) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.end, io.EOF) || errors.Is(s.end, os.ErrClosed) {
		return nil
	}
	return s.end
}

// Close closes the output and the file, ends all readers, and waits for the goroutine. It returns the error with
// which the output broke before its end, and errors of closing. A second Close does nothing and returns nil.
func (s *Spool) Close() error {
	err := s.output.Close()
	s.moving.Wait()
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	s.changed.Broadcast()
	if already {
		return nil
	}
	return errors.Join(err, s.Err(), s.file.Close())
}

// Reader returns a reader that begins with the byte at the given offset, 0 or more. That byte may be yet to come.
// Any number of readers may read at once. A reader holds nothing: it needs no Close.
func (s *Spool) Reader(offset int64) *Reader {
	return &Reader{spool: s, at: offset}
}

// Reader is one reader of a Spool. One Read runs at a time; Close may be called at any time.
type Reader struct {
	spool  *Spool
	at     int64
	closed bool // guarded by the spool's mu
}

// Offset returns the offset of the byte that the next Read begins with. It must not be called while a Read runs.
func (r *Reader) Offset() int64 { return r.at }

// Read waits until there is output, and reads some of it.
//
// Errors: io.EOF at the output's end. OutOfRange where the reader has fallen behind the bytes that are kept: the
// text has their offsets, and a new reader may begin there. os.ErrClosed after the reader, the spool or the output
// was closed. Else the error with which the output broke.
func (r *Reader) Read(p []byte) (int, error) {
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

// await waits until there are bytes to read, and returns the offset at which they end.
func (r *Reader) await() (to int64, err error) {
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

func (r *Reader) cutOff(from, to int64) error {
	return fmt.Errorf("reader at byte %d was cut off: bytes %d to %d are kept: %w",
		r.at, from, to, errdefs.ErrOutOfRange)
}

// Close ends a Read that waits; that Read and later ones return os.ErrClosed. It returns nil.
func (r *Reader) Close() error {
	r.spool.mu.Lock()
	r.closed = true
	r.spool.mu.Unlock()
	r.spool.changed.Broadcast()
	return nil
}
