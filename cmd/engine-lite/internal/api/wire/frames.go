package wire

import (
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/moby/moby/api/pkg/stdcopy"
)

// frameHeader is the stream's number, three zeros, and the length of what
// follows, big endian.
const frameHeader = 8

// Multiplexer sends two streams over one, in the frames that stdcopy reads. A socket
// gets header and payload in one writev.
type Multiplexer struct {
	// To gets the frames.
	To io.Writer

	// mu keeps frames whole: it is held while a frame is written, since both streams
	// write to To.
	mu     sync.Mutex
	header [frameHeader]byte
	parts  [2][]byte
	vector net.Buffers
}

// Stream returns the writer of one of the streams.
func (m *Multiplexer) Stream(t stdcopy.StdType) FrameWriter {
	return FrameWriter{m, t}
}

// FrameWriter sends one of the two streams.
type FrameWriter struct {
	m    *Multiplexer
	kind stdcopy.StdType
}

// Write sends p as one frame.
func (f FrameWriter) Write(p []byte) (int, error) {
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
	n, err := m.vector.WriteTo(m.To)
	m.parts[1] = nil
	return max(int(n)-frameHeader, 0), err
}

// Frame returns the header for n bytes that the caller sends itself, and the socket
// to send them to; the socket is nil where w is none.
func (f FrameWriter) Frame(n int) ([]byte, net.Conn) {
	head := [frameHeader]byte{byte(f.kind)}
	binary.BigEndian.PutUint32(head[4:], uint32(n))
	return head[:], bareSocket(f.m.To)
}

// Raw sends the output of a terminal without frames.
type Raw struct{ net.Conn }

// Frame returns no header.
func (w Raw) Frame(int) ([]byte, net.Conn) { return nil, bareSocket(w.Conn) }

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
