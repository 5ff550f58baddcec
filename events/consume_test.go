package events

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is the event stream of a daemon. It ends each stream after a few events, so that
// a consumer has to connect again.
type journal struct {
	id     string
	oldest uint64

	mu     sync.Mutex
	newest uint64
	more   chan struct{}
	asked  []string
	// perStream is the number of events after which a stream ends; 0 is no end.
	perStream uint64
	// skip is the number of an event that is left out.
	skip uint64
}

func newJournal(oldest, newest uint64) *journal {
	return &journal{id: "j1", oldest: oldest, newest: newest, more: make(chan struct{})}
}

func (j *journal) append(n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.newest += n
	close(j.more)
	j.more = make(chan struct{})
}

func (j *journal) state() (uint64, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.newest, j.more
}

func (j *journal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	newest, _ := j.state()
	j.mu.Lock()
	j.asked = append(j.asked, r.URL.RawQuery)
	j.mu.Unlock()
	after := newest
	if q.Get("since") == "0" {
		after = j.oldest - 1
	} else if c := q.Get("cursor"); c != "" {
		after, _ = strconv.ParseUint(c, 10, 64)
	}
	if after+1 < j.oldest || after > newest || (q.Get("journal") != "" && q.Get("journal") != j.id) {
		w.WriteHeader(http.StatusGone)
		_, _ = fmt.Fprintf(w, `{"message":"not kept","journal":%q,"oldest":%d,"newest":%d}`, j.id, j.oldest, newest)
		return
	}
	w.Header().Set("Engine-Lite-Journal", j.id)
	w.Header().Set("Engine-Lite-Newest", strconv.FormatUint(newest, 10))
	w.WriteHeader(http.StatusOK)
	if q.Get("until") != "" {
		return
	}
	for sent := uint64(0); ; {
		newest, more := j.state()
		for ; after < newest && (j.perStream == 0 || sent < j.perStream); sent++ {
			after++
			if after != j.skip {
				_, _ = fmt.Fprintf(w, ":\nid: %d\n\nid: %d\ndata: "+`{"Type":"container","Action":"die",`+
					`"Actor":{"ID":"c%d","Attributes":{"exitCode":"7"}},"timeNano":5,"seq":%d}`+"\n\n", after-1, after,
					after, after)
			}
		}
		if j.perStream > 0 && sent >= j.perStream {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

func serve(t *testing.T, h http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	c := &Client{HTTP: server.Client(), URL: server.URL, Retry: time.Millisecond}
	t.Cleanup(server.Close)
	t.Cleanup(c.Close)
	return c
}

var errEnough = errors.New("enough")

// upTo returns a handler that collects numbers up to one.
func upTo(last uint64, got *[]uint64) func(Event) error {
	return func(e Event) error {
		*got = append(*got, e.Seq)
		if e.Seq == last {
			return errEnough
		}
		return nil
	}
}

func numbers(from, to uint64) []uint64 {
	var list []uint64
	for ; from <= to; from++ {
		list = append(list, from)
	}
	return list
}

// All events come, once each, however often the stream ends.
func TestConsume(t *testing.T) {
	j := newJournal(3, 10)
	j.perStream = 2
	client := serve(t, j)
	cursor := File(filepath.Join(t.TempDir(), "cursor"))
	var got []uint64
	done := make(chan error, 1)
	go func() { done <- Consume(t.Context(), client, cursor, upTo(20, &got)) }()
	j.append(5)
	j.append(5)
	if err := <-done; !errors.Is(err, errEnough) || !slices.Equal(got, numbers(3, 20)) {
		t.Errorf("%v, %v", got, err)
	}
	// The event whose handler has failed comes again.
	j.append(1)
	got = nil
	if err := Consume(t.Context(), client, cursor, upTo(21, &got)); !errors.Is(err, errEnough) ||
		!slices.Equal(got, numbers(20, 21)) {
		t.Errorf("again: %v, %v", got, err)
	}
	if p, err := cursor.Load(t.Context()); err != nil || p != (Position{"j1", 20}) {
		t.Errorf("%+v, %v", p, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(string(cursor))); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestConsumeFromNow(t *testing.T) {
	j := newJournal(1, 10)
	client := serve(t, j)
	p, err := client.Now(t.Context())
	if err != nil || p != (Position{"j1", 10}) {
		t.Fatalf("%+v, %v", p, err)
	}
	j.append(2)
	var got []uint64
	m := Memory(p)
	if err := Consume(t.Context(), client, &m, upTo(12, &got)); !errors.Is(err, errEnough) ||
		!slices.Equal(got, numbers(11, 12)) {
		t.Errorf("%v, %v", got, err)
	}
}

// A missing event is an error, and is never skipped.
func TestConsumeEndsWithAnError(t *testing.T) {
	for name, test := range map[string]struct {
		at    Position
		skip  uint64
		check func(error) bool
	}{
		"too old":        {Position{"j1", 1}, 0, isGone},
		"too new":        {Position{"j1", 99}, 0, isGone},
		"other journal":  {Position{"j0", 6}, 0, isGone},
		"hole":           {Position{"j1", 5}, 7, errdefs.IsDataLoss},
		"hole at first":  {Position{"j1", 5}, 6, errdefs.IsDataLoss},
		"journal is new": {Position{"j0", 0}, 0, isGone},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJournal(5, 10)
			j.skip = test.skip
			m := Memory(test.at)
			if err := Consume(t.Context(), serve(t, j), &m, func(Event) error { return nil }); !test.check(err) {
				t.Errorf("%v", err)
			}
		})
	}
}

func isGone(err error) bool {
	var gone *GoneError
	return errors.As(err, &gone) && gone.Journal == "j1" && gone.Oldest == 5 && gone.Newest == 10 &&
		errdefs.IsOutOfRange(err)
}

// A silent stream is closed, and the consumer connects again.
func TestConsumeOfSilentStream(t *testing.T) {
	j := newJournal(1, 1)
	client := serve(t, j)
	client.Silence = 20 * time.Millisecond
	var got []uint64
	done := make(chan error, 1)
	go func() { done <- Consume(t.Context(), client, new(Memory), upTo(2, &got)) }()
	for {
		j.mu.Lock()
		n := len(j.asked)
		j.mu.Unlock()
		if n >= 3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	j.append(1)
	if err := <-done; !errors.Is(err, errEnough) || !slices.Equal(got, numbers(1, 2)) {
		t.Errorf("%v, %v", got, err)
	}
}

// Consume waits for a daemon that can't be reached, or that answers with status 503.
func TestConsumeWaitsForTheDaemon(t *testing.T) {
	j := newJournal(1, 3)
	var asked atomic.Int64
	client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler)
		default:
			j.ServeHTTP(w, r)
		}
	}))
	var got []uint64
	if err := Consume(t.Context(), client, new(Memory), upTo(3, &got)); !errors.Is(err, errEnough) || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestConsumeStopsWithItsContext(t *testing.T) {
	client := Unix(filepath.Join(t.TempDir(), "nobody"))
	client.Retry = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(5*time.Millisecond, func() { cancel(errEnough) })
	if err := Consume(ctx, client, new(Memory), nil); !errors.Is(err, errEnough) {
		t.Errorf("%v", err)
	}
	refused := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "{}", http.StatusBadRequest)
	}))
	if err := Consume(t.Context(), refused, new(Memory), nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%v", err)
	}
	if _, err := refused.Now(t.Context()); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%v", err)
	}
}

type brokenCursor struct{ Memory }

func (brokenCursor) Save(context.Context, Position) error { return errEnough }

func TestCursorThatFails(t *testing.T) {
	if err := Consume(t.Context(), serve(t, newJournal(1, 3)), &brokenCursor{},
		func(Event) error { return nil }); !errors.Is(err, errEnough) {
		t.Errorf("%v", err)
	}
	path := filepath.Join(t.TempDir(), "cursor")
	for content, broken := range map[string]bool{"": true, "x": true, `{"journal":7}`: true,
		`{"journal":"j","seq":7}`: false} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := File(path).Load(t.Context()); errdefs.IsDataLoss(err) != broken ||
			(!broken && p != Position{"j", 7}) {
			t.Errorf("%q: %+v, %v", content, p, err)
		}
	}
	if err := File(filepath.Join(path, "no", "directory")).Save(t.Context(), Position{}); err == nil {
		t.Error("saved nowhere")
	}
}
