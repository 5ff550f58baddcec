package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

const socketPath = "ws://docker/v1.44/containers/c/attach/ws?stream=1&stdout=1&stderr=1"

func (d *daemon) webSocket(t *testing.T, url string, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPClient: d.client, HTTPHeader: header})
	if err == nil {
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, resp, err
}

// TestWebSocket sends messages of both kinds, and reads the streams of the process without frames. The process's end
// closes the connection.
func TestWebSocket(t *testing.T) {
	d := newDaemon(t, withAttach(func(_ context.Context, o engine.AttachOptions) error {
		s, err := o.Open(false)
		if err != nil {
			return err
		}
		line := make([]byte, len("text binary"))
		if _, err := io.ReadFull(s.Stdin, line); err != nil {
			return err
		}
		if _, err := s.Stdout.Write(line); err != nil {
			return err
		}
		_, err = s.Stderr.Write([]byte("bye"))
		return err
	}))
	conn, _, err := d.webSocket(t, socketPath+"&stdin=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("text ")); err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("binary")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"text binary", "bye"} {
		kind, got, err := conn.Read(t.Context())
		if err != nil || kind != websocket.MessageBinary || string(got) != want {
			t.Errorf("%v %q, %v", kind, got, err)
		}
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("at the end: %v", err)
	}
}

// TestWebSocketClientGone ends an attach by the client's end, which is also the end of stdin, with and without stdin.
func TestWebSocketClientGone(t *testing.T) {
	for _, stdin := range []string{"", "&stdin=1"} {
		ended := make(chan error, 1)
		d := newDaemon(t, withAttach(func(ctx context.Context, o engine.AttachOptions) error {
			s, err := o.Open(true)
			if err == nil && s.Stdin != nil {
				_, err = io.Copy(io.Discard, s.Stdin)
			}
			<-ctx.Done()
			ended <- err
			return ctx.Err()
		}))
		conn, _, err := d.webSocket(t, socketPath+stdin, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("dropped, or read")); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseNow(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestWebSocketRefused answers an error of the engine, a request that is no handshake, and a page of another site.
func TestWebSocketRefused(t *testing.T) {
	d := newDaemon(t, withAttach(func(_ context.Context, o engine.AttachOptions) error {
		_, err := o.Open(false)
		return err
	}))
	if _, resp, err := d.webSocket(t, socketPath, http.Header{"Origin": {"http://elsewhere"}}); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("another site: %+v, %v", resp, err)
	}
	if a := d.do(get, "/containers/c/attach/ws?stream=1&stdout=1", ""); a.status != http.StatusUpgradeRequired {
		t.Errorf("no handshake: %+v", a)
	}
	d = newDaemon(t, withAttach(func(context.Context, engine.AttachOptions) error {
		return errors.Join(errors.New("No such container: c"), errdefs.ErrNotFound)
	}))
	if _, resp, err := d.webSocket(t, socketPath, nil); err == nil || resp == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("no container: %v, %v", resp, err)
	}
	if a := d.do(get, "/containers/c/attach/ws", ""); a.status != http.StatusNotFound || !strings.Contains(a.body, "No such container") {
		t.Errorf("no container: %+v", a)
	}
}
