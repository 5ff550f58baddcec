package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/engine-lite/engine-lite/journal"
)

// TestFillJournal checks the events of a journal: all events of each container, in order
// of time, and the one in the middle.
func TestFillJournal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	const n = 10_003 // more than one commit
	middle, err := fillJournal(t.Context(), path, n)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(path, journal.Options{Format: engineFormat})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if j.Oldest() != 1 || j.Newest() != n || middle.Seq != n/2+1 {
		t.Errorf("events %d to %d, the middle is %d", j.Oldest(), j.Newest(), middle.Seq)
	}
	c, err := j.CursorSince(middle.Time)
	if err != nil || c.Position() != middle.Seq-1 {
		t.Fatalf("%v at %d", err, c.Position())
	}
	if e, err := c.Next(t.Context()); err != nil || !e.Time.Equal(middle.Time) || e.ID != middle.ID {
		t.Errorf("%+v, %v; the middle is %+v", e, err, middle)
	}
	if err := j.Check(t.Context(), func(finding string) { t.Error(finding) }); err != nil {
		t.Error(err)
	}
}

// TestReadEvents reads events from a fake engine: the right ones, and wrong ones.
func TestReadEvents(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		answer     string
		first, all bool // whether firstEvent and allEvents accept them
	}{
		"two":      {"{\"seq\":1}\n{\"seq\":2}\n", true, true},
		"a hole":   {"{\"seq\":1}\n{\"seq\":3}\n", true, false},
		"no first": {"{\"seq\":2}\n{\"seq\":3}\n", false, false},
		"one":      {"{\"seq\":1}\n", true, false},
		"none":     {"", false, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(tt.answer))
		}))
		d := &daemon{client: &client{http: server.Client()}}
		d.http.Transport = toServer{server}
		if ms, err := d.firstEvent(t.Context(), "cursor=0", 1); (err == nil) != tt.first || ms <= 0 {
			t.Errorf("%s: the first after %v, %v", what, ms, err)
		}
		if seconds, err := d.allEvents(t.Context(), 2); (err == nil) != tt.all || err == nil && seconds <= 0 {
			t.Errorf("%s: all after %v, %v", what, seconds, err)
		}
		server.Close()
	}
}

// toServer sends each request to a server of the test.
type toServer struct{ *httptest.Server }

func (s toServer) RoundTrip(q *http.Request) (*http.Response, error) {
	q.URL.Host = s.Listener.Addr().String()
	return http.DefaultTransport.RoundTrip(q)
}

func TestSpread(t *testing.T) {
	t.Parallel()
	next := 0.0
	s, err := spreadOf(4, func() (float64, error) { next++; return next, nil })
	if err != nil || s.Median != 2.5 || s.P95 != 4 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := spreadOf(4, func() (float64, error) { return 0, http.ErrServerClosed }); err == nil {
		t.Error("an error is lost")
	}
}
