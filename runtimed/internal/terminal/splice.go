package terminal

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pastDeadline interrupts what waits.
var pastDeadline = time.Unix(1, 0)

// finish makes move return once its source is empty.
func finish(source *os.File) error { return source.SetReadDeadline(pastDeadline) }

// move splices from one non-blocking descriptor to the other, one of which is a pipe, until the source ends (nil) or
// fails, or is empty after finish (nil). It calls awaitRoom when the sink is full; an error of that ends it.
func move(source, sink *os.File, awaitRoom func(sink syscall.RawConn) error) error {
	from, err := source.SyscallConn()
	if err != nil {
		return err
	}
	to, err := sink.SyscallConn()
	if err != nil {
		return err
	}
	for last := false; ; {
		n, err := spliceOnce(from, to, !last)
		switch {
		case err == nil && n == 0:
			return nil
		case err == nil, errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, os.ErrDeadlineExceeded) && !last:
			last = true
			err = source.SetReadDeadline(time.Time{})
		case errors.Is(err, unix.EAGAIN) && last && !readable(from):
			return nil
		case errors.Is(err, unix.EAGAIN):
			err = awaitRoom(to)
		}
		if err != nil {
			return err
		}
	}
}

// awaitWritable waits until a descriptor can be written, or until its write deadline.
func awaitWritable(c syscall.RawConn) error {
	return c.Write(func(fd uintptr) bool { return ready(fd, unix.POLLOUT) })
}

// spliceOnce moves what it can. With wait it waits for the source to have something; EAGAIN then means that the sink
// is full.
func spliceOnce(from, to syscall.RawConn, wait bool) (n int64, err error) {
	var spliceErr error
	readErr := from.Read(func(src uintptr) bool {
		controlErr := to.Control(func(dst uintptr) {
			n, spliceErr = unix.Splice(int(src), nil, int(dst), nil, spliceSize,
				unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		})
		if controlErr != nil {
			spliceErr = controlErr
		}
		return !wait || !errors.Is(spliceErr, unix.EAGAIN) || ready(src, unix.POLLIN)
	})
	if readErr != nil {
		return 0, readErr
	}
	return n, spliceErr
}

func readable(c syscall.RawConn) bool {
	var is bool
	err := c.Control(func(fd uintptr) { is = ready(fd, unix.POLLIN) })
	return err == nil && is
}

// ready tells whether a descriptor can be read or written, or has hung up, now.
func ready(fd uintptr, events int16) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}
