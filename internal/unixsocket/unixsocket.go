// Package unixsocket listens on unix sockets in the file system, in place of a socket that a dead process left.
package unixsocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/retry"
)

// patience is how long to wait for the end of whoever serves a socket: the kernel closes the files of a killed
// process one by one, and its lock may go before its socket.
const patience = time.Second

// Listen makes a socket at path with the given permissions and listens on it. The network is "unix" or
// "unixpacket". A stale socket at path is removed before. The caller holds a lock that keeps other processes from
// doing the same: two of them could each remove the socket of the other one. The caller closes the listener, which
// removes the socket.
//
// Errors: those of RemoveStale.
func Listen(ctx context.Context, network, path string, mode os.FileMode) (*net.UnixListener, error) {
	if err := RemoveStale(ctx, network, path); err != nil {
		return nil, err
	}
	listener, err := listen(ctx, network, path, mode)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot set the permissions of the socket: %w", err), listener.Close())
	}
	return listener, nil
}

// listen makes a socket that has the given permissions at most from its first moment on: bind(2) gives the file those of
// the socket's inode, without those of the umask (net/unix/af_unix.c, unix_bind_bsd).
func listen(ctx context.Context, network, path string, mode os.FileMode) (*net.UnixListener, error) {
	restrict := func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), uint32(mode.Perm())) })
		return errors.Join(err, failed)
	}
	l, err := (&net.ListenConfig{Control: restrict}).Listen(ctx, network, path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// ListenPacket makes a socket for datagrams ("unixgram") at path, in place of a stale one. The caller holds a lock
// as for Listen. The caller closes the connection, which leaves the socket there, and removes path.
//
// Errors: those of RemoveStale.
func ListenPacket(ctx context.Context, path string) (*net.UnixConn, error) {
	const network = "unixgram"
	if err := RemoveStale(ctx, network, path); err != nil {
		return nil, err
	}
	conn, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return conn, nil
}

// RemoveStale removes the socket at path if its process is dead, which is so where a connection is refused
// (ECONNREFUSED, unix(7)). A path with nothing at it is no error. The caller holds a lock as for Listen.
//
// Errors: FailedPrecondition if path is no socket, or if somebody still serves it after a second; the path is left
// as it is.
func RemoveStale(ctx context.Context, network, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is there and is no socket: %w", path, errdefs.ErrFailedPrecondition)
	}
	if err := awaitRefusal(ctx, network, path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// awaitRefusal waits until nobody serves the socket at path.
func awaitRefusal(ctx context.Context, network, path string) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for delay := retry.New(5*time.Millisecond, patience/4); ; {
		conn, err := new(net.Dialer).DialContext(waiting, network, path)
		if err == nil {
			_ = conn.Close() // nothing was sent
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
			return nil
		case delay.Wait(waiting) == nil: // served, or too busy to answer
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return fmt.Errorf("somebody serves %s: %w", path, errdefs.ErrFailedPrecondition)
		}
	}
}
