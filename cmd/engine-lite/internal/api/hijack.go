package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

// lingerTime bounds how long a connection is kept for its peer to close it,
// after the last output.
const lingerTime = 2 * time.Second

// session is a request that takes its connection over once the engine says so,
// and carries stdin and output from then on.
//
//	client ── request ─────────────────────────> attach or exec start
//	client <─ 101 UPGRADED, or 200 OK ────────── open
//	client ── stdin, then shutdown(WR) ────────> Streams.Stdin, then EOF
//	client <─ output, raw or in frames ───────── Streams.Stdout, Stderr
//	client <─ shutdown(WR), close ────────────── close
type session struct {
	h *Handler
	w *response
	r *request
	// ctx ends when the client is gone, or the handler shuts down. It doesn't
	// follow the request's context, for which a client that only has nothing
	// more to send is gone.
	ctx                   context.Context
	cancel                context.CancelFunc
	stdin, stdout, stderr bool

	conn  net.Conn
	input *input
	undo  []func()
}

func (h *Handler) newSession(w *response, r *request, stdin, stdout, stderr bool) *session {
	s := &session{h: h, w: w, r: r, stdin: stdin, stdout: stdout, stderr: stderr}
	s.ctx, s.cancel = h.stream(context.WithoutCancel(r.Context()))
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
	stop, err := s.h.hangups.watch(conn, s.input.hungUp)
	if err != nil {
		return engine.Streams{}, err
	}
	unhook := context.AfterFunc(s.ctx, func() { interrupt(conn) })
	s.undo = append(s.undo, stop, func() { unhook() })
	return s.streams(terminal), nil
}

// sendBuffer is what a client's socket may hold, in bytes; the kernel doubles it.
// Less costs a change of goroutines more often, more than that leaves the
// processor's cache.
const sendBuffer = 512 << 10

// growSendBuffer lets output get further ahead of the client. What may not be so
// large is no error.
func growSendBuffer(conn net.Conn) {
	raw, err := rawConn(conn)
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		}
	})
}

// streams are the ends that the client asked for. With a terminal there is one
// output, as it is; without, each write is a frame.
func (s *session) streams(terminal bool) engine.Streams {
	var st engine.Streams
	if s.stdin {
		st.Stdin = s.input
	}
	if terminal {
		if s.stdout || s.stderr {
			st.Stdout = rawWriter{s.conn}
		}
		return st
	}
	m := &multiplexer{w: s.conn}
	if s.stdout {
		st.Stdout = m.stream(stdoutFrame)
	}
	if s.stderr {
		st.Stderr = m.stream(stderrFrame)
	}
	return st
}

// head is the answer's header: 101 for a client that asked for an upgrade, else
// 200 with a body that ends with the connection.
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

// finish is what the handler returns: err where it can still be told.
func (s *session) finish(err error) error {
	if s.conn == nil || err == nil {
		return err
	}
	s.h.log.WithError(err).WithField("path", s.r.URL.Path).Debug("attached client ended")
	return nil
}

// close ends the output, so that the client reads its end after the last byte,
// and closes the connection when the client did, or after a short time. Closing
// at once would reset a connection with input that nobody read.
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

// interrupt makes reads and writes in flight, and later ones, return.
func interrupt(conn net.Conn) {
	// It fails only for a connection that is closed.
	_ = conn.SetDeadline(time.Unix(1, 0))
}
