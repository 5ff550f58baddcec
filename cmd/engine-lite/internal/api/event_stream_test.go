package api

import (
	"bufio"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
)

// TestEventsBegin has where a stream begins, by parameter and header.
func TestEventsBegin(t *testing.T) {
	f := withEvents(func(context.Context, func(eventstream.Event) error) error { return nil })
	d := newDaemon(t, f)
	number := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		path, accept, last string
		after              *uint64
		journal            string
		status             int
	}{
		{"/events", "", "", nil, "", 200},
		{"/events?cursor=0", "", "", number(0), "", 200},
		{"/events?cursor=7&journal=abc", "", "", number(7), "abc", 200},
		{"/events?cursor=18446744073709551615", "", "", number(1<<64 - 1), "", 200},
		{"/events?cursor=7", "text/event-stream", "9", number(9), "", 200},
		{"/events?since=1", "text/event-stream", "9", number(9), "", 200},
		{"/events?cursor=7", "application/json", "9", number(7), "", 200},
		{"/events?cursor=", "", "", nil, "", 400},
		{"/events?cursor=-1", "", "", nil, "", 400},
		{"/events?cursor=18446744073709551616", "", "", nil, "", 400},
		{"/events?cursor=1&since=1", "", "", nil, "", 400},
		{"/events", "text/event-stream", "x", nil, "", 400},
	} {
		a := d.do(get, c.path, "", "Accept", c.accept, "Last-Event-ID", c.last)
		if a.status != c.status {
			t.Errorf("%s %q %q: %d %s", c.path, c.accept, c.last, a.status, a.body)
			continue
		}
		if a.status != 200 {
			continue
		}
		got := f.asked
		sameAfter := (got.After == nil) == (c.after == nil) && (c.after == nil || *got.After == *c.after)
		if got.Journal != c.journal || !sameAfter {
			t.Errorf("%s %q %q: asked for %+v", c.path, c.accept, c.last, got)
		}
		if j, n := a.header.Get(journalHeader), a.header.Get(newestHeader); j != "j1" || n != "12" {
			t.Errorf("journal %q, newest %q", j, n)
		}
	}
}

// TestEventsGone has the answer where history was not retained.
func TestEventsGone(t *testing.T) {
	gone := &eventstream.HistoryGoneError{Position: eventstream.Position{Journal: "j1", Newest: 12}, Oldest: 5}
	d := newDaemon(t, &fake{calls: calls{err: gone}})
	a := d.do(get, "/events?cursor=1", "")
	if want := `{"message":"","journal":"j1","oldest":5,"newest":12}` + "\n"; a.status != 410 || a.body != want {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestEventsHeartbeat has heartbeats that tell how far a reader has come whose
// filters let nothing through.
func TestEventsHeartbeat(t *testing.T) {
	f := &fake{}
	f.events = func(ctx context.Context, fn func(eventstream.Event) error) error {
		if err := fn(eventstream.Event{Message: events.Message{Type: "container"}, Seq: 3}); err != nil {
			return err
		}
		f.asked.Omit(8)
		<-ctx.Done()
		return ctx.Err()
	}
	d := newDaemonWith(t, f, Options{Heartbeat: time.Millisecond})
	req, err := http.NewRequestWithContext(t.Context(), get, "http://docker/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var seen strings.Builder
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		seen.WriteString(lines.Text() + "\n")
		if strings.HasSuffix(seen.String(), "id: 3\ndata: "+
			`{"Type":"container","Action":"","Actor":{"ID":"","Attributes":null},"seq":3}`+"\n") {
			seen.Reset()
		}
		if strings.HasSuffix(seen.String(), "\n:\nid: 8\n\n:\nid: 8\n\n") {
			return
		}
	}
	t.Errorf("no heartbeats: %q", seen.String())
}

func FuzzEventsType(f *testing.F) {
	for _, accept := range []string{
		"", "*/*", "application/jsonl;q=0.2, text/event-stream", "a/b;q=NaN", "application/x-ndjson;q=Inf,,;",
	} {
		f.Add(52, accept)
	}
	f.Fuzz(func(t *testing.T, minor int, accept string) {
		v := version{1, minor}
		got := eventsType(v, accept)
		if !slices.Contains(eventTypes, got) && got != "application/json" {
			t.Fatalf("%q", got)
		}
		if otherwise := eventsType(v, ""); got != otherwise && !strings.Contains(strings.ToLower(accept), got) {
			t.Fatalf("%q of %q", got, accept)
		}
	})
}
