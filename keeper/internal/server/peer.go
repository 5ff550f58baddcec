package server

import (
	"errors"
	"os"
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

// peerIsOurs tells whether the process at the other end of a connection runs as our user (SO_PEERCRED, unix(7)).
func peerIsOurs(conn syscall.Conn) (bool, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, inner); err != nil {
		return false, err
	}
	return int(cred.Uid) == os.Geteuid(), nil
}
