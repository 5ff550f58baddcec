package journal

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// edit changes a closed journal by bbolt.
func edit(t *testing.T, path string, fn func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// closedJournal makes a journal with some events and records.
func closedJournal(t *testing.T) string {
	t.Helper()
	path := newPath(t)
	j := open(t, path, unbounded)
	appendEvents(t, j, 50)
	commit(t, j, func(tx *Tx) { tx.Put("n", "k", make([]byte, 100<<10)) })
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatCannotBeOpened(t *testing.T) {
	put := func(bucket string, key, value []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put(key, value) })
		}
	}
	drop := func(bucket string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(bucket)) })
		}
	}
	write := func(offset int64, content string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte(content), offset)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(size int64) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(*testing.T, string)
		is    func(error) bool
		says  string
	}{
		"newer": {
			put(journalBucket, []byte(formatKey), binary.BigEndian.AppendUint32(nil, 2)),
			errdefs.IsFailedPrecondition, "format 2",
		},
		"no format":        {put(journalBucket, []byte(formatKey), nil), errdefs.IsDataLoss, "format"},
		"another database": {drop(journalBucket), errdefs.IsFailedPrecondition, "not a journal"},
		"no events":        {drop(eventsBucket), errdefs.IsDataLoss, "events"},
		"no records":       {drop(recordsBucket), errdefs.IsDataLoss, "records"},
		"no last event":    {put(eventsBucket, eventKey(51), nil), errdefs.IsDataLoss, "newest event"},
		"bad last event":   {put(eventsBucket, eventKey(50), []byte("12345")), errdefs.IsDataLoss, "checksum"},
		"short last event": {put(eventsBucket, eventKey(50), seal(eventKey(50), nil)), errdefs.IsDataLoss, "cut off"},
		"bad first event":  {put(eventsBucket, eventKey(1), nil), errdefs.IsDataLoss, "cut off"},
		"garbage":          {write(0, strings.Repeat("garbage ", 4096)), errdefs.IsDataLoss, "corrupt"},
		"garbage behind":   {write(2*4096, strings.Repeat("garbage ", 16384)), errdefs.IsDataLoss, "corrupt"},
		"empty":            {truncate(0), errdefs.IsDataLoss, "empty"},
		"tiny":             {truncate(10), errdefs.IsDataLoss, "corrupt"},
		"metadata only":    {truncate(2 * 4096), errdefs.IsDataLoss, "cut off"},
		"cut off":          {truncate(20 * 4096), errdefs.IsDataLoss, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := closedJournal(t)
			c.spoil(t, path)
			before := descriptors(t)
			j, err := Open(path, Options{})
			if err == nil {
				err = j.Close()
				t.Fatalf("it was opened, and closed with %v", err)
			}
			if !c.is(err) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func TestOpenNeedsADirectoryAndAFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent", "journal.db"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := Open("/dev/null", Options{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a device: %v", err)
	}
}

func TestASpoiledRecordIsNotAbsent(t *testing.T) {
	path := closedJournal(t)
	edit(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(recordsBucket)).Put(recordKey("n", "k"), []byte("12345"))
	})
	if j, err := Open(path, Options{}); !errdefs.IsDataLoss(err) {
		t.Errorf("got %v, %v", j, err)
	}
}

func TestALostEventIsNotSkipped(t *testing.T) {
	path := closedJournal(t)
	edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte(eventsBucket)).Delete(eventKey(40)) })
	c := open(t, path, Options{}).Cursor(32)
	if _, err := c.Next(t.Context()); !errdefs.IsDataLoss(err) || c.Position() != 32 {
		t.Errorf("got %v at %d", err, c.Position())
	}
}

func TestCreatingIsAtomic(t *testing.T) {
	path := newPath(t)
	leftover := filepath.Join(filepath.Dir(path), draftPrefix(path)+"123")
	if err := os.WriteFile(leftover, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	ids := make([]string, 8)
	var creators sync.WaitGroup
	for i := range ids {
		creators.Go(func() {
			j, err := Open(path, Options{LockTimeout: defaultLockTimeout * 20})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = j.ID()
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	creators.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("two journals were made: %q", ids)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
