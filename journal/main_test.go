package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childEnv names the role in which the test binary runs when a test has started it as its child.
const childEnv = "JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	switch role := os.Getenv(childEnv); role {
	case "":
		goleak.VerifyTestMain(m)
	case "writer":
		exit(writeUntilKilled(os.Args[1]))
	case "limited":
		exit(writeBeyondLimit(os.Args[1]))
	case "cut":
		exit(readCutOff(os.Args[1]))
	case "wiped":
		exit(useWiped(os.Args[1], os.Args[2]))
	default:
		exit(fmt.Errorf("unknown role %q", role))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

var errRefused = errors.New("refused")

// unbounded keeps all events and syncs nothing.
var unbounded = Options{NoSync: true, MaxAge: -1, MaxBytes: -1}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "journal.db") }

func open(t testing.TB, path string, opts Options) *Journal {
	t.Helper()
	j, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func commit(t testing.TB, j *Journal, fn func(*Tx)) {
	t.Helper()
	err := j.Commit(t.Context(), func(tx *Tx) error {
		fn(tx)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// appendEvents commits n events, one by one, whose actions are their numbers.
func appendEvents(t testing.TB, j *Journal, n int) {
	t.Helper()
	for range n {
		commit(t, j, appendNumbered)
	}
}

func appendNumbered(tx *Tx) {
	tx.Append(Event{Type: "container", ID: "c", Action: fmt.Sprint(tx.next + uint64(len(tx.events)))})
}

func records(t testing.TB, j *Journal, kind string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := j.View(func(s *Snapshot) error {
		return s.ForEach(kind, func(key string, value []byte) error {
			found[key] = string(value)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// allEvents reads what is kept.
func allEvents(t testing.TB, j *Journal) []Event {
	t.Helper()
	var events []Event
	for c := j.Cursor(j.Oldest() - 1); ; {
		e, ok, err := c.Poll()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return events
		}
		events = append(events, e)
	}
}

// eventually waits until a condition holds that another goroutine is about to bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for: %s", what)
		}
		runtime.Gosched()
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
