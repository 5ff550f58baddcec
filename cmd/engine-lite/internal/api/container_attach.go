package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/coder/websocket"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

func (h containerHandlers) attach(w *response, r *request) error {
	o := attachOptions(r)
	s := h.sessions.begin(w, r, o.Stdin, o.Stdout, o.Stderr)
	defer s.close()
	o.Open = s.open
	return s.finish(h.engine.ContainerAttach(s.ctx, r.name, o))
}

func attachOptions(r *request) engine.AttachOptions {
	return engine.AttachOptions{
		Stdin:      r.flag("stdin"),
		Stdout:     r.flag("stdout"),
		Stderr:     r.flag("stderr"),
		Logs:       r.flag("logs"),
		Stream:     r.flag("stream"),
		DetachKeys: r.query.Get("detachKeys"),
	}
}

// webSocket is an attach over a web socket (RFC 6455). Each write of the process is a binary message, whichever stream
// it is on: dockerd sends no frames here. The client's messages, of text or binary, are stdin; a web socket has no half
// close, so the end of stdin is the end of the connection.
type webSocket struct {
	w *response
	r *request
	// ctx ends when the client is gone, or the handler shuts down.
	ctx    context.Context
	cancel context.CancelFunc
	conn   *websocket.Conn // nil before open
	stdin  *io.PipeReader
	// reading is the goroutine that reads from the client. It ends with the connection.
	reading sync.WaitGroup
}

// attachWebSocket serves the attach of clients that run in a browser.
func (h containerHandlers) attachWebSocket(w *response, r *request) error {
	s := &webSocket{w: w, r: r}
	s.ctx, s.cancel = h.streaming.begin(context.WithoutCancel(r.Context()))
	defer s.close()
	o := attachOptions(r)
	o.Open = func(bool) (engine.Streams, error) { return s.open(o) }
	err := h.engine.ContainerAttach(s.ctx, r.name, o)
	if !w.begun() {
		return err
	}
	if err != nil {
		h.sessions.log.WithError(err).WithField("path", r.URL.Path).Debug(
			"the web socket of an attached client ended with an error")
	}
	return nil
}

// open takes the connection over and answers. A request from a page of another site is refused: browsers let such a
// page connect.
func (s *webSocket) open(o engine.AttachOptions) (engine.Streams, error) {
	conn, err := websocket.Accept(s.w, s.r.Request, nil)
	if err != nil { // it is answered
		return engine.Streams{}, fmt.Errorf("cannot take the connection over: %w", err)
	}
	s.w.hijacked, s.conn = true, conn
	conn.SetReadLimit(-1) // a message is passed on in pieces
	var to *io.PipeWriter
	s.stdin, to = io.Pipe()
	if !o.Stdin {
		_ = s.stdin.Close() // what the client sends is dropped
	}
	s.reading.Go(func() { s.read(to) })
	var st engine.Streams
	if o.Stdin {
		st.Stdin = s.stdin
	}
	if o.Stdout {
		st.Stdout = messages{s}
	}
	if o.Stderr {
		st.Stderr = messages{s}
	}
	return st, nil
}

// read passes the client's messages to stdin until the connection ends. Without a reader of stdin it drops them: it
// goes on to notice the end.
func (s *webSocket) read(stdin *io.PipeWriter) {
	for {
		_, message, err := s.conn.Reader(s.ctx)
		if err == nil {
			if _, err = io.Copy(stdin, message); errors.Is(err, io.ErrClosedPipe) {
				_, err = io.Copy(io.Discard, message)
			}
		}
		if err != nil {
			_ = stdin.Close() // stdin ends
			s.cancel()
			return
		}
	}
}

// close ends the connection with the closing handshake of web sockets, which waits for the client for some seconds at
// most.
func (s *webSocket) close() {
	if s.conn != nil {
		_ = s.stdin.Close()
		_ = s.conn.Close(websocket.StatusNormalClosure, "") // the client may be gone
	}
	s.cancel()
	s.reading.Wait()
}

// messages writes to the client, a message for each write.
type messages struct{ s *webSocket }

func (m messages) Write(p []byte) (int, error) {
	if err := m.s.conn.Write(m.s.ctx, websocket.MessageBinary, p); err != nil {
		return 0, fmt.Errorf("cannot write to the client: %w", err)
	}
	return len(p), nil
}
