package spool

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/unixsocket"
)

// wakeName is the engine's socket in the spool's directory.
const wakeName = "wake"

// Wake tells the engine that there is something to read. It never waits. Where no
// engine listens it reads the spool when it comes up; where it hasn't read earlier
// calls yet, it hasn't looked yet.
func Wake(dir string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	_ = unix.Sendto(fd, []byte{0}, 0, &unix.SockaddrUnix{Name: filepath.Join(dir, wakeName)})
}

// Listen makes the directory and the socket of Wake in it. A stale socket is
// removed: the caller alone has the directory. The function closes and removes it.
func Listen(dir string) (*net.UnixConn, func() error, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, wakeName)
	conn, err := unixsocket.ListenPacket(context.Background(), path) // at most a second
	if err != nil {
		return nil, nil, err
	}
	return conn, func() error { return errors.Join(conn.Close(), os.Remove(path)) }, nil
}
