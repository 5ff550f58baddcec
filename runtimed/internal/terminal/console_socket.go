package terminal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

// longestName is how many bytes of the terminal's name an OCI runtime sends with it at most (runc's utils.MaxNameLen).
const longestName = 4096

// ConsoleSocket is where the OCI runtime delivers the master of a terminal, by SCM_RIGHTS over a connection to a unix
// socket. The socket of go-runc does not serve here: its ReceiveMaster takes no context, so that a runtime that
// connects and sends nothing blocks it for ever; it leaks descriptors if it gets more than one, or one that is no
// terminal; and it makes the master blocking, which takes it out of the epoll loop of Go.
type ConsoleSocket struct {
	path     string
	listener *net.UnixListener
}

func NewConsoleSocket(dir string) (*ConsoleSocket, error) {
	path := filepath.Join(dir, rand.Text()+".sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the terminal: %w", err)
	}
	return &ConsoleSocket{path: path, listener: l}, nil
}

// Path is the socket's path.
func (s *ConsoleSocket) Path() string { return s.path }

// Receive waits for the master, until ctx ends. The connection of a runtime that has succeeded is there already.
func (s *ConsoleSocket) Receive(ctx context.Context) (*os.File, error) {
	stop := context.AfterFunc(ctx, func() { s.listener.SetDeadline(pastDeadline) }) // fails only once closed
	defer stop()
	conn, err := s.listener.AcceptUnix()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the OCI runtime sent no terminal: %w", err), ctx.Err())
	}
	defer conn.Close()
	stopConn := context.AfterFunc(ctx, func() { conn.SetDeadline(pastDeadline) })
	defer stopConn()
	_, fds, err := fdpass.Read(conn, make([]byte, longestName), 1)
	if errors.Is(err, fdpass.ErrTruncated) {
		return nil, fmt.Errorf("the OCI runtime sent more than a terminal: %w", errdefs.ErrDataLoss)
	}
	if err != nil {
		return nil, fmt.Errorf("the OCI runtime sent no terminal: %w", err)
	}
	return masterOf(fds)
}

// masterOf makes the one descriptor that came non-blocking, or closes it.
func masterOf(fds []int) (*os.File, error) {
	if len(fds) == 0 {
		return nil, fmt.Errorf("the OCI runtime sent a message without a terminal: %w", errdefs.ErrDataLoss)
	}
	_, err := unix.IoctlGetWinsize(fds[0], unix.TIOCGWINSZ) // ENOTTY for anything but a terminal
	if err == nil {
		err = unix.SetNonblock(fds[0], true)
	}
	if err != nil {
		fdpass.Close(fds)
		return nil, fmt.Errorf("the OCI runtime sent no terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// Close removes the socket.
func (s *ConsoleSocket) Close() error { return s.listener.Close() }
