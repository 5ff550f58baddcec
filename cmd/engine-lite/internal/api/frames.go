package api

import (
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

const (
	stdoutFrame = stdcopy.Stdout
	stderrFrame = stdcopy.Stderr
	// frameHeader is the stream's number, three zeros, and the length of what
	// follows, big endian.
	frameHeader = 8
)

// multiplexer sends two streams over one, in the frames that stdcopy reads. A socket
// gets header and payload in one writev.
type multiplexer struct {
	w io.Writer

	// mu keeps frames whole: it is held while a frame is written, since both streams
	// write to w.
	mu     sync.Mutex
	header [frameHeader]byte
	parts  [2][]byte
	vector net.Buffers
}

func (m *multiplexer) stream(t stdcopy.StdType) io.Writer {
	return frameWriter{m, t}
}

var _, _ engine.Socket = frameWriter{}, rawWriter{}

type frameWriter struct {
	m    *multiplexer
	kind stdcopy.StdType
}

// Write sends p as one frame.
func (f frameWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	m := f.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.header[0] = byte(f.kind)
	binary.BigEndian.PutUint32(m.header[4:], uint32(len(p)))
	m.parts = [2][]byte{m.header[:], p}
	m.vector = m.parts[:]
	n, err := m.vector.WriteTo(m.w)
	m.parts[1] = nil
	return max(int(n)-frameHeader, 0), err
}

// Frame returns the header for n bytes that the caller sends itself, and the socket
// to send them to; the socket is nil where w is none.
func (f frameWriter) Frame(n int) ([]byte, net.Conn) {
	head := [frameHeader]byte{byte(f.kind)}
	binary.BigEndian.PutUint32(head[4:], uint32(n))
	return head[:], bareSocket(f.m.w)
}

// rawWriter sends the output of a terminal without frames.
type rawWriter struct{ net.Conn }

// Frame returns no header.
func (w rawWriter) Frame(int) ([]byte, net.Conn) { return nil, bareSocket(w.Conn) }

// bareSocket is w if it is a socket without encryption above it, else nil.
func bareSocket(w io.Writer) net.Conn {
	switch conn := w.(type) {
	case *net.UnixConn:
		return conn
	case *net.TCPConn:
		return conn
	}
	return nil
}
