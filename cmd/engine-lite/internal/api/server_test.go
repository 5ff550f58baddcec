package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

func TestMain(m *testing.M) {
	// The runtime opens its poller with the first socket and keeps it: before
	// any descriptor is counted.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	goleak.VerifyTestMain(m)
}

// patience bounds what a test waits for.
const patience = 10 * time.Second

func deref(n *int) any {
	if n == nil {
		return nil
	}
	return *n
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// quiet is a log that nobody reads.
func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// daemon is a fake engine behind a handler on a unix socket.
type daemon struct {
	t      *testing.T
	engine *fake
	socket string
	client *http.Client
}

// newDaemon serves f until the test ends, and then checks that no descriptor
// stayed.
func newDaemon(t *testing.T, f *fake) *daemon {
	t.Helper()
	return newDaemonWith(t, f, Options{})
}

func newDaemonWith(t *testing.T, f *fake, o Options) *daemon {
	t.Helper()
	o.Version, o.Log = "test", quiet()
	before := descriptors(t)
	d := &daemon{t: t, engine: f, socket: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", d.socket)
	}}
	d.client = &http.Client{Transport: transport, Timeout: patience}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- Serve(ctx, New(f.ready(), o), patience, l) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		eventually(t, func() bool { return descriptors(t) <= before }, "a descriptor stayed open")
	})
	return d
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// eventually waits for a condition.
func eventually(t *testing.T, met func() bool, what string) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !met(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// answer is what a request came to.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; body is JSON where it isn't empty.
func (d *daemon) do(method, path, body string, header ...string) answer {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://docker"+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func TestServeFails(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	h := New(new(fake).ready(), Options{Log: quiet()})
	if err := Serve(t.Context(), h, patience, l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// TestShutdownWaits has a handler that doesn't end by itself.
func TestShutdownWaits(t *testing.T) {
	entered, proceed := make(chan struct{}), make(chan struct{})
	h := New(withAttach(func(context.Context, engine.AttachOptions) error {
		close(entered)
		<-proceed
		return nil
	}).ready(), Options{Log: quiet()})
	var request sync.WaitGroup
	request.Go(func() { h.ServeHTTP(newRecorder(), newRequest(t, post, "/containers/c/attach")) })
	<-entered
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Shutdown(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	close(proceed)
	if err := h.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	request.Wait()
}

// dial opens a connection of its own and sends text.
func (d *daemon) dial(text string) *net.UnixConn {
	d.t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: d.socket, Net: "unix"})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		d.t.Fatal(err)
	}
	return conn
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func newRequest(t *testing.T, method, path string) *http.Request {
	return httptest.NewRequestWithContext(t.Context(), method, path, nil)
}
