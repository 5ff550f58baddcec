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
)

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
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, fmt.Errorf("the OCI runtime sent no terminal: %w", err)
	}
	return masterOf(oob[:n])
}

// masterOf takes the one descriptor out of a control message and makes it non-blocking. What else came is closed.
func masterOf(oob []byte) (*os.File, error) {
	fds, err := descriptors(oob)
	if err == nil && len(fds) != 1 {
		err = fmt.Errorf("%d descriptors instead of one: %w", len(fds), errdefs.ErrDataLoss)
	}
	if err == nil {
		_, err = unix.IoctlGetWinsize(fds[0], unix.TIOCGWINSZ) // ENOTTY for anything but a terminal
	}
	if err == nil {
		err = unix.SetNonblock(fds[0], true)
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("the OCI runtime sent no terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// descriptors are all that came with a message. They are the caller's, also after an error.
func descriptors(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return all, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
		}
		all = append(all, fds...)
	}
	return all, nil
}

// Close removes the socket.
func (s *ConsoleSocket) Close() error { return s.listener.Close() }
