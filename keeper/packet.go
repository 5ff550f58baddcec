package keeper

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

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

// packet is an answer and the descriptors that came with it.
type packet struct {
	answer
	files []*os.File
}

// network is the kind of socket: connections whose messages are packets (SOCK_SEQPACKET, unix(7)).
const network = "unixpacket"

// dial connects to a keeper's socket.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, path)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("cannot reach the keeper: %v: %w", err, errdefs.ErrUnavailable)
	}
	return conn.(*net.UnixConn), nil
}

// writeWithin writes one packet. It is written whole or, when ctx ends first, not at all.
func writeWithin(ctx context.Context, conn *net.UnixConn, data []byte, files []*os.File) error {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.SetWriteDeadline(time.Unix(1, 0)) // fails only on a closed connection, and then the write fails too
		close(fired)
	})
	defer func() {
		if !stop() {
			<-fired
			conn.SetWriteDeadline(time.Time{}) // as above
		}
	}()
	var err error
	if unusable := fdpass.With(files, func(fds []int) error { err = fdpass.Write(conn, data, fds); return nil }); unusable != nil {
		return fmt.Errorf("cannot send descriptor: %w: %w", unusable, errdefs.ErrInvalidArgument)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	if err != nil {
		return gone(err)
	}
	return nil
}

// readAnswer reads one answer on the client's side. Any error is the connection's end.
func readAnswer(conn *net.UnixConn, buffer []byte) (packet, error) {
	n, fds, err := fdpass.Read(conn, buffer, maxDescriptors)
	if err != nil {
		return packet{}, err
	}
	var p packet
	for _, fd := range fds {
		p.files = append(p.files, os.NewFile(uintptr(fd), "held stream"))
	}
	if p.answer, err = decodeAnswer(buffer[:n]); err != nil {
		closeFiles(p.files)
		return packet{}, err
	}
	return p, nil
}

// closeFiles closes received files that nobody will use; there is nothing to learn from an error.
func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// follow reads the exits of a ledger over a connection of its own.
func follow(ctx context.Context, path string, fn func(Exit) error) error {
	conn, err := dial(ctx, path)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() { stop(); conn.Close() }() // closing twice is harmless, and nothing was written that could be lost
	for _, hello := range []string{
		fmt.Sprintf(`{"id":1,"op":%q,"protocol":%d}`, opHello, Protocol),
		fmt.Sprintf(`{"id":2,"op":%q}`, opExits),
	} {
		if err := fdpass.Write(conn, []byte(hello), nil); err != nil {
			return gone(err)
		}
	}
	buffer := make([]byte, maxAnswer)
	for {
		p, err := readAnswer(conn, buffer)
		if err != nil {
			return gone(err)
		}
		closeFiles(p.files) // none belongs to an exit
		if err := p.err(); err != nil {
			return err
		}
		for _, exit := range p.Exits {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := fn(exit); err != nil {
				return err
			}
		}
	}
}

// hungUp tells whether the other end of a connection is closed, or this one (poll(2), POLLHUP).
func hungUp(conn syscall.Conn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	fds := []unix.PollFd{{}}
	err = raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		_, _ = unix.Poll(fds, 0) // an interrupted one tells nothing, and then nobody waits
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
