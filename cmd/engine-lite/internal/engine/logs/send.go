package logs

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendChunk is what one sendfile moves at most.
const sendChunk = 1 << 20

// socketOf returns the connection to send to without copying, nil where w isn't
// one. A type that wraps one has a Write of its own that has to be called.
func socketOf(w io.Writer) syscall.RawConn {
	var conn syscall.Conn
	switch c := w.(type) {
	case *net.UnixConn:
		conn = c
	case *net.TCPConn:
		conn = c
	default:
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil // Write will say what is wrong with it
	}
	return raw
}

// send moves what came after at to a socket. While the socket is full, nothing
// holds the follower's bytes: it may turn out to have lagged.
func (f *Follower) send(r *raw, at int64, conn syscall.RawConn) error {
	var n int
	var failure error
	err := conn.Write(func(to uintptr) bool {
		n, failure = f.sendSome(r, at, int(to))
		return !errors.Is(failure, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return err
	case failure != nil:
		return failure
	}
	f.advance(r, at, int64(n))
	return nil
}

// sendSome is one sendfile, which doesn't wait. What it reads is kept from being
// freed meanwhile.
func (f *Follower) sendSome(r *raw, at int64, to int) (n int, err error) {
	o := f.output
	o.mu.Lock()
	if at < r.freed {
		o.mu.Unlock()
		return 0, ErrLagging
	}
	f.sending = r
	limit := min(r.size-at, sendChunk)
	o.mu.Unlock()
	err = r.control(func(from int) error {
		for {
			off := at
			n, err = unix.Sendfile(to, from, &off, int(limit))
			if !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
	o.mu.Lock()
	f.sending = nil
	o.mu.Unlock()
	return max(n, 0), err
}
