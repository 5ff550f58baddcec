package ocilog

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/unixsocket"
)

// wakeName is the name of the engine's socket in the directory of the logs.
const wakeName = "wake"

// Wake tells the engine that a log has changed. It never waits, and has no error:
// an engine that does not listen reads all logs when it starts, and one whose
// socket is full has yet to read the logs.
func Wake(dir string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	_ = unix.Sendto(fd, []byte{0}, 0, &unix.SockaddrUnix{Name: filepath.Join(dir, wakeName)})
}

// Listen makes the directory and, in it, the socket that Wake writes to. It removes
// a stale socket: no other engine may use the directory. The caller calls the
// returned function, which closes and removes the socket.
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
