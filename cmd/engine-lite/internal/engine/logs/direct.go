package logs

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Where nothing is logged and one client follows, the mover splices from the
// FIFO to the client's socket, past the raw file: nothing is copied, and nothing
// is freed behind the socket's back. A kill leaves each byte in the pipe or in
// the socket. Such bytes never were in the raw file and don't count in its size.
//
//	idle ──mover borrows──> borrowed ──> idle
//	  ^                        └─ no room ─> full ──the follower waits──┐
//	  └─────────────────────────────────────────────────────────────────┘
//
// Only who has the follower (the mover while it is borrowed, else Copy) writes to
// the client and touches its open frame. The mover waits for a full client, but not
// longer than [patience]: then, and where another one follows or the process has
// exited, what comes goes to the raw file, also the end of a frame that was begun.
// So a process that writes is held up only at the bound, and a terminal's last
// output, for which the runtime daemon waits two seconds, always finds room.

const (
	// patience is how long a mover waits for a client at once.
	patience = 100 * time.Millisecond
	// patiencePause is how long it waits for no client after it has lost its patience.
	// Then a client that reads as fast as it can has the time to catch up.
	patiencePause = 500 * time.Millisecond
)

// Socket is a client's writer that bytes can be spliced past.
type Socket interface {
	io.Writer
	// Frame returns what has to be sent before n bytes of payload, and the
	// connection that both are sent to; nil where that isn't a bare socket.
	Frame(n int) (head []byte, conn net.Conn)
}

// directSource is a Source that can do it. *fifo.Reader is one.
type directSource interface {
	Source
	// Pending waits for the first byte and returns how many there are; errors
	// are Splice's.
	Pending() (int, error)
	// SpliceTo moves at most max bytes to a socket, and waits neither for room in
	// that nor for output: 0 then.
	SpliceTo(dst syscall.Conn, max int) (int64, error)
}

// followerState says who may write to a follower's client.
type followerState int

const (
	busy     followerState = iota // it isn't in Copy, reads a file or writes
	idle                          // it waits for more, and a mover may borrow it
	borrowed                      // a mover writes to the client
	full                          // it waits until the client takes more
)

// openFrame is what the client has yet to get of a frame that was begun.
type openFrame struct {
	r    *raw
	head []byte // not yet sent
	left int64  // bytes of payload to send after it
}

// direct brings some of the stream to the only follower; false where it has to
// go to the raw file. Errors are the source's, and errClosed.
func (o *Output) direct(r *raw, src directSource) (bool, error) {
	n, err := src.Pending()
	if err != nil {
		return false, err
	}
	f, err := o.borrow(r)
	if f == nil {
		return false, err
	}
	state, err := f.lend(r, src, n)
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
		o.giveBack(f, state, nil)
		return false, err
	}
	o.giveBack(f, state, err) // it is the client's, and for Copy to tell
	return true, nil
}

// borrow waits until the only follower is idle; nil where there are none or
// several, and where nobody waits for them any more.
func (o *Output) borrow(r *raw) (*Follower, error) {
	var timeout <-chan time.Time
	for {
		f, wait := o.tryBorrow(r)
		if wait == nil {
			return f, nil
		}
		if timeout == nil {
			if time.Now().Before(r.noWaitUntil) {
				return nil, nil
			}
			timer := time.NewTimer(o.patience)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-wait:
		case <-timeout:
			r.noWaitUntil = time.Now().Add(patiencePause)
			return nil, nil
		case <-o.ctx.Done():
			return nil, errClosed
		}
	}
}

// tryBorrow returns the only follower, or what to wait for until it is idle.
func (o *Output) tryBorrow(r *raw) (*Follower, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.onlyLocked(r)
	switch {
	case f == nil:
		return nil, nil
	case f.idleLocked(r):
		f.state = borrowed
		return f, nil
	}
	f.recalled = true
	return nil, o.waitLocked()
}

// onlyLocked is the follower that the stream can go to directly.
func (o *Output) onlyLocked(r *raw) *Follower {
	if o.exited || o.closed || len(r.followers) != 1 {
		return nil
	}
	for f := range r.followers {
		if f.sockets[r.name] != nil {
			return f
		}
	}
	return nil
}

// idleLocked says that the follower has all of the stream so far, and that
// nothing of another one is half sent.
func (f *Follower) idleLocked(r *raw) bool {
	return f.state == idle && f.position[r.name] == r.size && (f.frame.left == 0 || f.frame.r == r)
}

// giveBack ends a borrow; err ends the follower. Nobody is woken who has nothing to do.
func (o *Output) giveBack(f *Follower, state followerState, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.state = state
	if err != nil {
		f.err, f.sockets = err, nil
	}
	if state != idle || f.err != nil || f.recalled {
		f.recalled = false
		o.changedLocked()
	}
}

// lend moves n bytes of the stream, as one frame, to the client, or what is left
// of the frame before. It doesn't wait for the client.
func (f *Follower) lend(r *raw, src directSource, n int) (followerState, error) {
	d := &f.frame
	if d.left == 0 {
		head, conn := f.sockets[r.name].Frame(n)
		*d = openFrame{r: r, head: append(d.head[:0], head...), left: int64(n)}
		f.conn = conn
	}
	for len(d.head) > 0 {
		m, err := send(f.conn, d.head)
		if err != nil {
			return idle, err
		}
		if m == 0 {
			return full, nil
		}
		d.head = d.head[m:]
	}
	for d.left > 0 {
		m, err := src.SpliceTo(f.conn.(syscall.Conn), int(d.left))
		if err != nil {
			return idle, err
		}
		if m == 0 {
			return full, nil
		}
		d.left -= m
		if d.left > 0 {
			return idle, nil // the pipe may have less by now: it is for Pending to wait
		}
	}
	return idle, nil
}

// send writes what conn takes at once.
func send(conn net.Conn, p []byte) (n int, err error) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		for {
			n, err = unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	if controlErr != nil {
		return 0, controlErr
	}
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	return max(n, 0), os.NewSyscallError("sendmsg", err)
}

// waitWritable waits until conn takes something. Closing it or a deadline ends
// the wait.
func waitWritable(conn net.Conn) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var pollErr error
	err = raw.Write(func(fd uintptr) bool {
		var n int
		n, pollErr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
		return n > 0 || pollErr != nil && !errors.Is(pollErr, unix.EINTR)
	})
	return errors.Join(err, pollErr)
}

// spliceable are the writers that bytes can be spliced past.
func spliceable(writers map[string]io.Writer) map[string]Socket {
	found := map[string]Socket{}
	for name, w := range writers {
		s, ok := w.(Socket)
		if !ok {
			continue
		}
		if _, conn := s.Frame(1); conn != nil {
			found[name] = s
		}
	}
	return found
}

// repay sends some of the rest of a frame, which is in the raw file now.
func (f *Follower) repay(r *raw, at int64, buf []byte) error {
	d := &f.frame
	if _, err := f.conn.Write(d.head); err != nil {
		return err
	}
	d.head = d.head[:0]
	n, err := f.read(r, at, buf[:min(int64(len(buf)), d.left)])
	if err != nil {
		return err
	}
	d.left -= int64(n)
	_, err = f.conn.Write(buf[:n])
	return err
}
