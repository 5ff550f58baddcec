package fifo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Splice waits until there is output and moves up to limit bytes of it into the
// regular file dst at offset, with splice(2): the bytes do not pass through
// this process, and when it is killed each byte is either in the file or still
// in the pipe. It returns how many were moved, at least 1 without an error.
//
// The file's own offset plays no part. dst must not be open for appending.
//
// Errors: as for [Reader.Read] (os.ErrClosed for dst, too); InvalidArgument for a limit below 1, a negative
// offset, or a dst that splice cannot write to; the file's own (ENOSPC and the
// like), with the bytes still in the pipe. Close ends a Splice that waits, but
// not one that the disk keeps busy.
func (r *Reader) Splice(dst *os.File, offset int64, limit int) (int64, error) {
	if limit < 1 || offset < 0 {
		return 0, fmt.Errorf("cannot splice %d bytes to offset %d: %w", limit, offset, errdefs.ErrInvalidArgument)
	}
	out, err := dst.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("cannot splice into %q: %w", dst.Name(), err)
	}
	n, err := r.take(limit, func(in, limit int) (n int, err error) {
		closed := out.Control(func(fd uintptr) {
			at := offset
			n, err = splice(in, int(fd), &at, limit)
		})
		if closed != nil {
			return 0, os.ErrClosed
		}
		return n, err
	})
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot splice from %q into %q: %w", r.file.Name(), dst.Name(), err)
	}
	return int64(n), err
}

// SpliceTo is Splice into a socket or a pipe: any connection of package net
// that is one, or an *os.File that is non-blocking. It waits for nothing: 0
// without an error says that dst has no room now or that there is no output,
// which [Reader.Pending] waits for.
//
// Errors: as for Splice, and dst's own (EPIPE).
func (r *Reader) SpliceTo(dst syscall.Conn, limit int) (int64, error) {
	if limit < 1 {
		return 0, fmt.Errorf("cannot splice %d bytes: %w", limit, errdefs.ErrInvalidArgument)
	}
	out, err := dst.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("cannot splice from %q: %w", r.file.Name(), err)
	}
	n, err := r.take(limit, func(in, limit int) (n int, err error) {
		controlErr := out.Control(func(fd uintptr) { n, err = splice(in, int(fd), nil, limit) })
		if controlErr != nil {
			return 0, controlErr
		}
		if errors.Is(err, unix.EAGAIN) { // it doesn't say which of the two
			return 0, nil
		}
		return n, err
	})
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot splice from %q: %w", r.file.Name(), err)
	}
	return int64(n), err
}

// splice moves bytes out of a non-blocking pipe. The pipe has a writer as long
// as the Reader is open, so 0 bytes is not an end that it can report.
func splice(in, out int, offset *int64, limit int) (int, error) {
	n, err := ignoringEINTR(func() (int, error) {
		moved, err := unix.Splice(in, nil, out, offset, limit, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		return int(moved), err
	})
	switch {
	case err == nil || errors.Is(err, unix.EAGAIN):
		return n, err
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE), errors.Is(err, unix.EBADF):
		return n, fmt.Errorf("splice: %w (%w)", err, errdefs.ErrInvalidArgument)
	}
	return n, classed(os.NewSyscallError("splice", err))
}
