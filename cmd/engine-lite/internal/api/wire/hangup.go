package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Hangups finds out when the peer of a connection is gone altogether. A peer that
// only won't send any more is not gone: docker closes its sending side as soon as
// its stdin ends. A read sees the same end of file in both cases. EPOLLHUP, on a unix
// socket, comes only for a peer that is gone. On TCP, a peer that is gone is noticed
// once something was sent to it.
//
// All connections share one epoll instance and one goroutine. The first watch starts
// the goroutine; Close ends it and waits for it.
type Hangups struct {
	mu      sync.Mutex
	poll    *os.File
	watched map[int32]func()
	last    int32
	loop    sync.WaitGroup
}

// Watch calls gone, once, when conn's peer is gone. The caller calls stop before conn
// is closed; gone may run at the same time.
func (h *Hangups) Watch(conn net.Conn, gone func()) (stop func(), err error) {
	raw, err := RawConn(conn)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.startLocked(); err != nil {
		return nil, err
	}
	h.last++
	key := h.last
	h.watched[key] = gone
	// No events but those that epoll always reports: EPOLLHUP and EPOLLERR.
	event := &unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: key}
	if err := h.control(raw, unix.EPOLL_CTL_ADD, event); err != nil {
		delete(h.watched, key)
		return nil, fmt.Errorf("cannot watch a connection: %w", err)
	}
	return func() { h.forget(raw, key) }, nil
}

// RawConn finds the socket below conn, also below TLS.
func RawConn(conn net.Conn) (syscall.RawConn, error) {
	if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = outer.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("cannot watch a connection without a descriptor: %w", errors.ErrUnsupported)
	}
	return sc.SyscallConn()
}

// startLocked makes the epoll instance. An epoll instance can be polled itself: the
// goroutine that waits for it parks as one that reads from a socket does, and needs
// no thread.
func (h *Hangups) startLocked() error {
	if h.poll != nil {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot watch connections: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return errors.Join(fmt.Errorf("cannot watch connections: %w", err), unix.Close(fd))
	}
	h.poll = os.NewFile(uintptr(fd), "epoll")
	raw, err := h.poll.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot watch connections: %w", err)
	}
	h.watched = map[int32]func(){}
	h.loop.Go(func() { h.run(raw) })
	return nil
}

// run reports hangups until the epoll instance is closed.
func (h *Hangups) run(raw syscall.RawConn) {
	var events [16]unix.EpollEvent
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(fd), events[:], 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		if err != nil {
			return
		}
		for _, e := range events[:max(n, 0)] {
			h.report(e.Fd)
		}
	}
}

// report ends a watch and calls its function.
func (h *Hangups) report(key int32) {
	h.mu.Lock()
	gone := h.watched[key]
	delete(h.watched, key)
	h.mu.Unlock()
	if gone != nil {
		gone()
	}
}

func (h *Hangups) forget(raw syscall.RawConn, key int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watched, key)
	// A failure is harmless: closing the socket removes it from the set too, unless
	// there is a duplicate of its descriptor.
	_ = h.control(raw, unix.EPOLL_CTL_DEL, nil)
}

// control changes the set of watched sockets.
func (h *Hangups) control(raw syscall.RawConn, op int, event *unix.EpollEvent) error {
	poll, err := h.poll.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = poll.Control(func(epfd uintptr) {
		failed = raw.Control(func(fd uintptr) {
			failed = unix.EpollCtl(int(epfd), op, int(fd), event)
		})
	})
	return errors.Join(err, failed)
}

// Close ends the goroutine and waits for it. All watches have ended before.
func (h *Hangups) Close() {
	h.mu.Lock()
	poll := h.poll
	h.mu.Unlock()
	if poll != nil {
		// Close fails only for a file that is closed already.
		_ = poll.Close()
	}
	h.loop.Wait()
}
