package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

// Network is the kind of socket, for package net: connections whose messages are packets (SOCK_SEQPACKET, unix(7)).
const Network = "unixpacket"

// Packet is an answer with the descriptors beside it. Whoever has the packet closes the files.
type Packet struct {
	Answer
	Files []*os.File
}

// Dial connects to a keeper's socket. Errors: Unavailable if nobody listens there, or ctx's.
func Dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, Network, path)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("cannot reach the keeper: %v: %w", err, errdefs.ErrUnavailable)
	}
	return conn.(*net.UnixConn), nil
}

// Gone returns the error of a call on a connection that has ended. Its class is Unavailable.
func Gone(cause error) error {
	return fmt.Errorf("the connection to the keeper has ended (%v): %w", cause, errdefs.ErrUnavailable)
}

// Write writes one packet with the descriptors of files beside it. The packet is written whole or, when ctx ends first,
// not at all.
//
// Errors: InvalidArgument for a file that is nil or closed, Unavailable if the connection has ended, or ctx's.
func Write(ctx context.Context, conn *net.UnixConn, data []byte, files []*os.File) error {
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
	unusable := fdpass.With(files, func(fds []int) error {
		err = fdpass.Write(conn, data, fds)
		return nil
	})
	switch {
	case unusable != nil:
		return fmt.Errorf("cannot send descriptor: %w: %w", unusable, errdefs.ErrInvalidArgument)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ctx.Err()
	case err != nil:
		return Gone(err)
	}
	return nil
}

// ReadAnswer reads one answer. The buffer has MaxAnswer bytes. Any error means that the connection is of no more use.
func ReadAnswer(conn *net.UnixConn, buffer []byte) (Packet, error) {
	n, fds, err := fdpass.Read(conn, buffer, MaxDescriptors)
	if err != nil {
		return Packet{}, err
	}
	var p Packet
	for _, fd := range fds {
		p.Files = append(p.Files, os.NewFile(uintptr(fd), "held stream"))
	}
	if p.Answer, err = DecodeAnswer(buffer[:n]); err != nil {
		CloseFiles(p.Files)
		return Packet{}, err
	}
	return p, nil
}

// CloseFiles closes received files that nobody will use. There is nothing to learn from an error.
func CloseFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
