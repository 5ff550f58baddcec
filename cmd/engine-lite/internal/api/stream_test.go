package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
)

// TestWaitHeader reads the header while the container still runs.
func TestWaitHeader(t *testing.T) {
	exits := make(chan container.WaitResponse, 1)
	d := newDaemon(t, withWait(func(context.Context) <-chan container.WaitResponse { return exits }))
	resp, err := d.client.Post("http://docker/containers/c/wait?condition=next-exit", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	exits <- container.WaitResponse{StatusCode: 7}
	body, err := io.ReadAll(resp.Body)
	if string(body) != `{"StatusCode":7}`+"\n" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}

// TestWaitCut has a wait that ends without an answer: the client may not take
// that for an exit with status 0.
func TestWaitCut(t *testing.T) {
	d := newDaemon(t, withWait(func(context.Context) <-chan container.WaitResponse {
		none := make(chan container.WaitResponse)
		close(none)
		return none
	}))
	resp, err := d.client.Post("http://docker/containers/c/wait", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the body ends with %v", err)
	}
}

// TestWaitClientGone has a client that doesn't wait for the answer.
func TestWaitClientGone(t *testing.T) {
	ended := make(chan struct{})
	d := newDaemon(t, withWait(func(ctx context.Context) <-chan container.WaitResponse {
		none := make(chan container.WaitResponse)
		context.AfterFunc(ctx, func() { close(none); close(ended) })
		return none
	}))
	conn := d.dial("POST /containers/c/wait HTTP/1.1\r\nHost: docker\r\n\r\n")
	readHead(t, conn)
	conn.Close()
	<-ended
}

// TestExportClientGone has a client that goes in the middle of an archive.
func TestExportClientGone(t *testing.T) {
	ended := make(chan struct{})
	d := newDaemon(t, withExport(func(ctx context.Context, w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil || ctx.Err() != nil {
				close(ended)
				return errors.Join(err, ctx.Err())
			}
		}
	}))
	conn := d.dial("GET /containers/c/export HTTP/1.1\r\nHost: docker\r\n\r\n")
	if head, _ := readHead(t, conn); head.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%v", head.Header)
	}
	conn.Close()
	<-ended
}

func TestLogs(t *testing.T) {
	for _, c := range []struct {
		name, path string
		terminal   bool
		media      string
		stdout     string
		stderr     string
	}{
		{"both", "/v1.42/containers/c/logs?stdout=1&stderr=1", false, "application/vnd.docker.multiplexed-stream",
			"out", "err"},
		{"one", "/v1.42/containers/c/logs?stderr=1", false, "application/vnd.docker.multiplexed-stream", "", "err"},
		{"old", "/v1.41/containers/c/logs?stdout=1&stderr=1", false, "application/vnd.docker.raw-stream", "out", "err"},
		{"terminal", "/v1.42/containers/c/logs?stdout=1", true, "application/vnd.docker.raw-stream", "out", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDaemon(t, withLogs(func(_ context.Context, o engine.LogsOptions) error {
				stdout, stderr, err := o.Open(c.terminal)
				if err == nil && stdout != nil {
					_, err = io.WriteString(stdout, "out")
				}
				if err == nil && stderr != nil {
					_, err = io.WriteString(stderr, "err")
				}
				return err
			}))
			a := d.do(get, c.path, "")
			if media := a.header.Get("Content-Type"); media != c.media {
				t.Errorf("Content-Type %q", media)
			}
			stdout, stderr := output(t, strings.NewReader(a.body), c.terminal)
			if stdout != c.stdout || stderr != c.stderr {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
		})
	}
}

// TestLogsFollow has each line at the client before the next one is written.
func TestLogsFollow(t *testing.T) {
	lines := make(chan string)
	d := newDaemon(t, withLogs(func(ctx context.Context, o engine.LogsOptions) error {
		stdout, _, err := o.Open(true)
		for err == nil {
			select {
			case line := <-lines:
				_, err = io.WriteString(stdout, line)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return err
	}))
	resp, err := d.client.Get("http://docker/containers/c/logs?stdout=1&follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for i := range 3 {
		line := fmt.Sprintf("line %d\n", i)
		lines <- line
		got := make([]byte, len(line))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != line {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

// TestEventsFormats has the answer's form by version and Accept.
func TestEventsFormats(t *testing.T) {
	d := newDaemon(t, withEvents(func(_ context.Context, fn func(eventstream.Event) error) error {
		for _, m := range []events.Message{
			{Type: "container", Action: "die",
				Actor: events.Actor{ID: "c", Attributes: map[string]string{"exitCode": "7", "image": "<i>"}},
				Scope: "local", Time: 1, TimeNano: 1000000002},
			{Type: "image", Action: "pull", Actor: events.Actor{ID: "i:1"}},
			{Type: "network", Action: "connect", Actor: events.Actor{ID: "n"}},
		} {
			if err := fn(eventstream.Event{Message: m, Seq: 9, Generation: 3,
				Recovered: m.Action == "die"}); err != nil {
				return err
			}
		}
		return nil
	}))
	const (
		die     = `"Type":"container","Action":"die","Actor":{"ID":"c","Attributes":{"exitCode":"7","image":"<i>"}},"scope":"local","time":1,"timeNano":1000000002,"seq":9,"generation":3,"recovered":true}` + "\n"
		pull    = `"Type":"image","Action":"pull","Actor":{"ID":"i:1","Attributes":null},"seq":9,"generation":3}` + "\n"
		connect = `{"Type":"network","Action":"connect","Actor":{"ID":"n","Attributes":null},"seq":9,"generation":3}` +
			"\n"
		old     = `{"status":"die","id":"c","from":"<i>",` + die + `{"status":"pull","id":"i:1",` + pull + connect
		current = "{" + die + "{" + pull + connect
		sse     = "id: 9\ndata: {" + die + "\nid: 9\ndata: {" + pull + "\nid: 9\ndata: " + connect + "\n"
		marked  = "\x1e{" + die + "\x1e{" + pull + "\x1e" + connect
	)
	for _, c := range []struct{ version, accept, media, body string }{
		{"1.41", "", "application/json", old},
		{"1.51", "*/*", "application/json", old},
		{"1.51", "application/x-ndjson", "application/x-ndjson", old},
		{"1.52", "", "application/jsonl", current},
		{"1.52", "*/*", "application/jsonl", current},
		{"1.52", "application/json", "application/jsonl", current},
		{"1.52", "application/x-ndjson", "application/x-ndjson", current},
		{"1.52", "application/json-seq", "application/json-seq", marked},
		{"1.52", "application/jsonl;q=0.2, application/x-ndjson;q=0.5", "application/x-ndjson", current},
		{"1.52", "application/x-ndjson;q=0, application/json-seq;q=0.1, */*", "application/json-seq", marked},
		{"1.53", "application/jsonl, application/x-ndjson;q=0.5", "application/jsonl", current},
		{"1.53", "text/event-stream", "text/event-stream", sse},
		{"1.41", "text/event-stream, application/json;q=0.5", "text/event-stream",
			strings.NewReplacer(`data: {"Type":"c`, `data: {"status":"die","id":"c","from":"<i>","Type":"c`,
				`data: {"Type":"i`, `data: {"status":"pull","id":"i:1","Type":"i`).Replace(sse)},
		{"1.53", "application/json-seq;q=x, bad/, text/html", "application/jsonl", current},
	} {
		a := d.do(get, "/v"+c.version+"/events", "", "Accept", c.accept)
		if a.header.Get("Content-Type") != c.media || a.body != c.body {
			t.Errorf("%s %q: %s\n%s\nwant %s\n%s",
				c.version, c.accept, a.header.Get("Content-Type"), a.body, c.media, c.body)
		}
	}
}

// TestEventsHeader has the header before there is an event, and a stream that
// ends with the daemon.
func TestEventsHeader(t *testing.T) {
	d := newDaemon(t, withEvents(func(ctx context.Context, _ func(eventstream.Event) error) error {
		<-ctx.Done()
		return ctx.Err()
	}))
	resp, err := d.client.Get("http://docker/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
}

// TestEventsBroken has a stream that fails: its end isn't a proper one.
func TestEventsBroken(t *testing.T) {
	d := newDaemon(t, withEvents(func(context.Context, func(eventstream.Event) error) error {
		return errors.New("the journal is broken")
	}))
	resp, err := d.client.Get("http://docker/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the body ends with %v", err)
	}
}

func TestStats(t *testing.T) {
	d := newDaemon(t, withStats(func(_ context.Context, fn func(container.StatsResponse) error) error {
		return errors.Join(fn(container.StatsResponse{ID: "c", Name: "/n"}), fn(container.StatsResponse{ID: "c"}))
	}))
	a := d.do(get, "/containers/c/stats", "")
	if n := strings.Count(a.body, "\n"); n != 2 || !strings.HasPrefix(a.body, `{"id":"c","name":"/n"`) {
		t.Errorf("%d lines: %s", n, a.body)
	}
}

func TestProgress(t *testing.T) {
	failed := fmt.Errorf("registry hung up: %w", errdefs.ErrUnavailable)
	for _, c := range []struct {
		name   string
		send   func(progress func(jsonstream.Message) error) error
		status int
		body   string
	}{
		{"nothing", nil, 200, ""},
		{"failed at once", func(func(jsonstream.Message) error) error { return failed }, 503,
			`{"message":"registry hung up: unavailable"}` + "\n"},
		{"done", func(send func(jsonstream.Message) error) error {
			p := &jsonstream.Progress{Current: 1, Total: 2}
			return send(jsonstream.Message{Status: "Downloading", ID: "l", Progress: p})
		}, 200, `{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"l"}` + "\n"},
		{"failed later", func(send func(jsonstream.Message) error) error {
			return errors.Join(send(jsonstream.Message{Status: "Pulling"}), failed)
		}, 200, `{"status":"Pulling"}` + "\n" +
			`{"errorDetail":{"code":503,"message":"registry hung up: unavailable"},"error":"registry hung up: unavailable"}` + "\n"},
	} {
		for _, path := range []string{"/images/create?fromImage=a&tag=b", "/images/create?fromSrc=-", "/images/load"} {
			d := newDaemon(t, withProgress(c.send))
			a := d.do(post, path, "")
			if path == "/images/load" && c.status != 200 { // the error is in the stream
				c.status = 200
				c.body = `{"errorDetail":{"code":503,"message":"registry hung up: unavailable"},"error":"registry hung up: unavailable"}` + "\n"
			}
			if a.status != c.status || a.body != c.body || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s, %s: %d %s %q", c.name, path, a.status, a.header.Get("Content-Type"), a.body)
			}
		}
	}
}

func TestPullAuth(t *testing.T) {
	d := newDaemon(t, &fake{})
	d.do(post, "/images/create?fromImage=h/a&tag=sha256:"+strings.Repeat("0", 64)+"&platform=linux/arm64", "",
		"X-Registry-Auth", "eyJ1c2VybmFtZSI6InUifQ==")
	want := "pull[h/a@sha256:" + strings.Repeat("0", 64) + " linux/arm64 u]"
	if calls := d.engine.noted(); len(calls) != 1 || calls[0] != want {
		t.Errorf("%v, want %s", calls, want)
	}
	if a := d.do(post, "/images/create?fromImage=a&tag=b", "", "X-Registry-Auth", "%"); a.status != 400 {
		t.Errorf("status %d", a.status)
	}
}

func TestSave(t *testing.T) {
	d := newDaemon(t, withSave(func(w io.Writer) error {
		_, err := io.Copy(w, strings.NewReader("archive"))
		return err
	}))
	a := d.do(get, "/images/a/get", "")
	if a.body != "archive" || a.header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("%q %v", a.body, a.header)
	}
}

// TestSaveBroken has an archive that stops in the middle.
func TestSaveBroken(t *testing.T) {
	d := newDaemon(t, withSave(func(w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<16))
		return errors.Join(err, errors.New("content is gone"))
	}))
	resp, err := d.client.Get("http://docker/images/a/get")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the body ends with %v", err)
	}
}

func TestPanic(t *testing.T) {
	d := newDaemon(t, withStats(func(context.Context, func(container.StatsResponse) error) error { panic("oh no") }))
	a := d.do(get, "/containers/c/stats", "")
	if a.status != 500 || strings.Contains(a.body, "oh no") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestPanicLate has a panic in the middle of a stream.
func TestPanicLate(t *testing.T) {
	d := newDaemon(t, withStats(func(_ context.Context, fn func(container.StatsResponse) error) error {
		if err := fn(container.StatsResponse{}); err != nil {
			return err
		}
		panic("oh no")
	}))
	resp, err := d.client.Get("http://docker/containers/c/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the body ends with %v", err)
	}
}

func TestShutdownRefuses(t *testing.T) {
	h := New(new(fake).ready(), Options{Log: quiet()})
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := newRecorder()
	h.ServeHTTP(w, newRequest(t, get, "/_ping"))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
}
