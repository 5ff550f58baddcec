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

// Splice waits until there is output, and moves up to limit bytes of it into the regular
// file dst at offset, with splice(2). The bytes don't pass through this process: when
// the process is killed, each byte is either in the file or still in the pipe. Splice
// returns how many bytes it moved; without an error at least 1.
//
// The file's own offset is neither used nor changed. dst must not be open for appending.
//
// Errors: those of [Reader.Read]; os.ErrClosed also for a closed dst; InvalidArgument
// for a limit below 1, a negative offset, or a dst that splice can't write to; those of
// the file, such as ENOSPC. After an error of the file the bytes are still in the pipe.
// Close ends a Splice that waits for output. It doesn't end one that waits for the disk.
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

// SpliceTo moves up to limit bytes of output into a socket or a pipe: a connection of
// package net, or a non-blocking *os.File. SpliceTo doesn't wait. If it returns 0
// without an error, dst has no room now, or there is no output; [Reader.Pending] waits
// for output.
//
// Errors: those of Splice, and those of dst, such as EPIPE.
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
		if errors.Is(err, unix.EAGAIN) { // dst is full, or the pipe is empty
			return 0, nil
		}
		return n, err
	})
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot splice from %q: %w", r.file.Name(), err)
	}
	return int64(n), err
}

// splice moves bytes out of a non-blocking pipe. It never returns 0 bytes for an end of
// file, since the Reader itself has the pipe open for writing.
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
