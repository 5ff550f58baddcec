package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

func findings(t *testing.T, j *Journal) []string {
	t.Helper()
	var list []string
	if err := j.Check(t.Context(), func(f string) { list = append(list, f) }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestCheckFinds(t *testing.T) {
	put := func(bucket string, key, value []byte) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put(key, value) }
	}
	for name, c := range map[string]struct {
		spoil func(*bolt.Tx) error
		says  string // empty: nothing
	}{
		"nothing":  {func(*bolt.Tx) error { return nil }, ""},
		"an event": {put(eventsBucket, eventKey(20), []byte("12345")), "event 20: checksum"},
		"a hole": {func(tx *bolt.Tx) error {
			return tx.Bucket([]byte(eventsBucket)).Delete(eventKey(30))
		}, "event 31 comes after event 29"},
		"a copy": {func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(eventsBucket))
			return b.Put(eventKey(7), seal(eventKey(7), b.Get(eventKey(40))[checksumSize:]))
		}, "event 7 is not where"},
	} {
		t.Run(name, func(t *testing.T) {
			path := closedJournal(t)
			edit(t, path, c.spoil)
			for _, opts := range []Options{{}, {ReadOnly: true}} {
				j := open(t, path, opts)
				if got := strings.Join(findings(t, j), "\n"); !strings.Contains(got, c.says) ||
					(c.says == "") != (got == "") {
					t.Errorf("got %q", got)
				}
				if err := j.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCheckFindsADamagedMetaPage(t *testing.T) {
	path := closedJournal(t)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{1, 2, 3}, pageHeader+40)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	j := open(t, path, Options{})
	if got := findings(t, j); len(got) != 1 || !strings.Contains(got[0], "meta pages") || !j.Torn() {
		t.Errorf("got %q, torn %v", got, j.Torn())
	}
	for range 2 { // commits write the meta pages in turns
		commit(t, j, func(tx *Tx) { tx.Put("kind", "key", nil) })
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, path, Options{}); again.Torn() {
		t.Error("two commits don't write it anew")
	}
}

// TestCheckWhileOthersCommit: Check finds nothing wrong in a journal that changes at the same time.
func TestCheckWhileOthersCommit(t *testing.T) {
	j := open(t, newPath(t), Options{MaxBytes: 64 << 10, NoSync: true})
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for ctx.Err() == nil {
				_ = j.Commit(ctx, exitCommit("some key")) // until it is cancelled
			}
		})
	}
	eventually(t, "events", func() bool { return j.Newest() > 500 })
	for range 30 {
		if got := findings(t, j); len(got) > 0 {
			t.Fatalf("got %q", got)
		}
	}
	cancel()
	writers.Wait()
	if err := j.Check(ctx, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	path := closedJournal(t)
	before := descriptors(t)
	for _, absent := range []string{filepath.Join(t.TempDir(), "journal.db")} {
		if _, err := Open(absent, Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
	one, two := open(t, path, Options{ReadOnly: true}), open(t, path, Options{ReadOnly: true})
	if n := len(allEvents(t, one)); n != 50 || len(records(t, two, "n")) != 1 {
		t.Errorf("%d events", n)
	}
	if err := one.Commit(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	if _, err := Open(path, Options{LockTimeout: -1}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a writer beside readers: %v", err)
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Error(err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
