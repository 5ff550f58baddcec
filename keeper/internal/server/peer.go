package server

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp tells whether the other end of a connection is closed, or this end (poll(2), POLLHUP).
func hungUp(conn syscall.Conn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	fds := []unix.PollFd{{}}
	err = raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		_, _ = unix.Poll(fds, 0) // after an interrupted call the connection counts as open
	})
	return err != nil || fds[0].Revents&unix.POLLHUP != 0
}

// peer returns the process at the other end of a connection (SO_PEERCRED, unix(7)).
func peer(conn syscall.Conn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(err, inner)
}
