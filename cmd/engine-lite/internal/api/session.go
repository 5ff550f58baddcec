package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/api/wire"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

// lingerTime bounds how long a connection is kept for its peer to close it,
// after the last output.
const lingerTime = 2 * time.Second

// session is a request that takes its connection over when the engine calls open.
// From then on the connection carries stdin and output.
//
//	client ── request ─────────────────────────> attach or exec start
//	client <─ 101 UPGRADED, or 200 OK ────────── open
//	client ── stdin, then shutdown(WR) ────────> Streams.Stdin, then EOF
//	client <─ output, raw or in frames ───────── Streams.Stdout, Stderr
//	client <─ shutdown(WR), close ────────────── close
type session struct {
	of *sessions
	w  *response
	r  *request
	// ctx ends when the client is gone, or the handler shuts down. It isn't the
	// request's context: that one also ends for a client that only has nothing more
	// to send.
	ctx                   context.Context
	cancel                context.CancelFunc
	stdin, stdout, stderr bool

	conn  net.Conn
	input *input
	undo  []func()
}

// sessions begins the sessions of a handler.
type sessions struct {
	streaming *streaming
	hangups   *wire.Hangups
	log       *logrus.Entry
}

// begin returns a session for a request; close has to be called.
func (ss *sessions) begin(w *response, r *request, stdin, stdout, stderr bool) *session {
	s := &session{of: ss, w: w, r: r, stdin: stdin, stdout: stdout, stderr: stderr}
	s.ctx, s.cancel = ss.streaming.begin(context.WithoutCancel(r.Context()))
	return s
}

// open takes the connection over and answers. It is the Open of the engine's
// options.
func (s *session) open(terminal bool) (engine.Streams, error) {
	conn, buffered, err := s.w.hijack()
	if err != nil {
		return engine.Streams{}, err
	}
	s.conn = conn
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return engine.Streams{}, fmt.Errorf("cannot take the connection over: %w", err)
	}
	growSendBuffer(conn)
	if _, err := conn.Write(s.head(terminal)); err != nil {
		return engine.Streams{}, fmt.Errorf("cannot answer: %w", err)
	}
	s.input = &input{conn: conn, buffered: buffered, early: buffered.Buffered(), ended: s.cancel}
	stop, err := s.of.hangups.Watch(conn, s.input.hungUp)
	if err != nil {
		return engine.Streams{}, err
	}
	unhook := context.AfterFunc(s.ctx, func() { interrupt(conn) })
	s.undo = append(s.undo, stop, func() { unhook() })
	return s.streams(terminal), nil
}

var _, _ engine.Socket = wire.FrameWriter{}, wire.Raw{}

// sendBuffer is the size of the send buffer of a client's socket, in bytes; the kernel
// doubles it. With less, goroutines change more often; more doesn't fit the processor's
// cache.
const sendBuffer = 512 << 10

// growSendBuffer makes the send buffer larger. It stays as it is where the kernel
// refuses.
func growSendBuffer(conn net.Conn) {
	raw, err := wire.RawConn(conn)
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		}
	})
}

// streams are the streams that the client asked for. With a terminal there is one
// output, without frames. Without a terminal, each write is a frame.
func (s *session) streams(terminal bool) engine.Streams {
	var st engine.Streams
	if s.stdin {
		st.Stdin = s.input
	}
	if terminal {
		if s.stdout || s.stderr {
			st.Stdout = wire.Raw{Conn: s.conn}
		}
		return st
	}
	m := &wire.Multiplexer{To: s.conn}
	if s.stdout {
		st.Stdout = m.Stream(stdcopy.Stdout)
	}
	if s.stderr {
		st.Stderr = m.Stream(stdcopy.Stderr)
	}
	return st
}

// head is the answer's header: 101 for a client that asked for an upgrade, else 200
// with a body that ends with the connection.
func (s *session) head(terminal bool) []byte {
	media := outputType(s.r.version, terminal)
	var b strings.Builder
	if upgrade := s.r.Header.Get("Upgrade"); upgrade != "" {
		s.w.status = http.StatusSwitchingProtocols
		b.WriteString("HTTP/1.1 101 UPGRADED\r\nContent-Type: " + media + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n")
	} else {
		s.w.status = http.StatusOK
		b.WriteString("HTTP/1.1 200 OK\r\nContent-Type: " + media + "\r\n")
	}
	// A strings.Builder doesn't fail.
	_ = s.w.Header().Write(&b)
	b.WriteString("\r\n")
	return []byte(b.String())
}

// outputType is the media type of a process' output.
func outputType(v version, terminal bool) string {
	if terminal || v.before(42) {
		return types.MediaTypeRawStream
	}
	return types.MediaTypeMultiplexedStream
}

// finish returns err where it can still be sent to the client, and logs it otherwise.
func (s *session) finish(err error) error {
	if s.conn == nil || err == nil {
		return err
	}
	s.of.log.WithError(err).WithField("path", s.r.URL.Path).Debug(
		"the connection of an attached client ended with an error")
	return nil
}

// close ends the output: the client reads an end of file after the last byte. Then
// close waits for the client to close the connection, up to lingerTime, and closes it.
// A close at once would reset a connection with unread input, and output would be lost.
func (s *session) close() {
	defer s.cancel()
	if s.conn == nil {
		return
	}
	for _, undo := range s.undo {
		undo()
	}
	defer s.conn.Close()
	if s.input == nil || s.ctx.Err() != nil {
		return
	}
	s.input.closed.Store(true)
	half, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if s.conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	unhook := context.AfterFunc(s.ctx, func() { interrupt(s.conn) })
	defer unhook()
	_, _ = io.Copy(io.Discard, s.conn)
}

// interrupt makes all reads and writes return, those in flight and later ones.
func interrupt(conn net.Conn) {
	// SetDeadline fails only for a connection that is closed.
	_ = conn.SetDeadline(time.Unix(1, 0))
}

// input is the client's stdin, an [io.ReadCloser]. Close ends a Read that waits.
type input struct {
	conn net.Conn
	// buffered holds the bytes that came with the request. They are read first.
	buffered *bufio.Reader
	// early is the number of bytes that came with the request.
	early int
	// ended is called when the peer is gone and all that it sent was read.
	ended func()

	used, eof, gone, closed atomic.Bool
}

// Read reads from the client. io.EOF means that the client won't send any more. It may
// still read output.
func (in *input) Read(p []byte) (int, error) {
	in.used.Store(true)
	if in.closed.Load() {
		return 0, os.ErrClosed
	}
	n, err := in.read(p)
	if err != nil {
		in.eof.Store(true)
		if in.gone.Load() {
			in.ended()
		}
	}
	if in.closed.Load() {
		// The process has ended, or the client has detached: the bytes aren't for it.
		return 0, os.ErrClosed
	}
	return n, err
}

func (in *input) read(p []byte) (int, error) {
	if n := in.buffered.Buffered(); n > 0 {
		return in.buffered.Read(p[:min(n, len(p))])
	}
	n, err := in.conn.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot read from the client: %w", err)
	}
	return n, err
}

// Close ends a Read that waits, and later ones. The connection stays open.
func (in *input) Close() error {
	in.closed.Store(true)
	return in.conn.SetReadDeadline(time.Unix(1, 0))
}

// hungUp is called when the peer is gone. Bytes that the client sent before are
// delivered first; the end of file behind them ends the session.
func (in *input) hungUp() {
	in.gone.Store(true)
	if in.eof.Load() || !in.used.Load() && !in.unread() {
		in.ended()
	}
}

// unread reports whether the client sent bytes that nobody has begun to read.
func (in *input) unread() bool {
	if in.early > 0 {
		return true
	}
	raw, err := wire.RawConn(in.conn)
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return err == nil && n > 0
}
