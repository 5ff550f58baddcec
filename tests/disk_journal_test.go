package tests

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/journal"
)

// TestJournalOnAFullDisk commits the exits of a thousand containers while the disk has no
// free block. It commits starts once there are free blocks again.
func TestJournalOnAFullDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fs := newDisk(t, kind, 64)
			path := filepath.Join(fs.dir, "journal.db")
			j := openJournal(t, path)
			commitAll(t, j, func(tx *journal.Tx, key string) { tx.Put("container", key, make([]byte, 2000)) })
			if err := j.Room(t.Context()); err != nil {
				t.Fatal(err)
			}
			fs.fill(t)
			for _, turn := range []string{"the journal that saw the disk fill", "the next one"} {
				if err := j.Room(t.Context()); !errdefs.IsResourceExhausted(err) {
					t.Errorf("%s: %v", turn, err)
				}
				commitAll(t, j, func(tx *journal.Tx, key string) { tx.Put("container", key, make([]byte, 2000)) })
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				j = openJournal(t, path)
			}
			commitAll(t, j, func(tx *journal.Tx, key string) { tx.Delete("container", key) })
			fs.free(t)
			if err := j.Room(t.Context()); err != nil {
				t.Error(err)
			}
			if err := j.Check(t.Context(), func(finding string) { t.Error(finding) }); err != nil {
				t.Error(err)
			}
			if n := j.Newest(); n != 4*ends {
				t.Errorf("%d events", n)
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func openJournal(t *testing.T, path string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(path, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

const ends = 1000

// commitAll changes many records, each in a transaction of its own, with an event.
func commitAll(t *testing.T, j *journal.Journal, change func(tx *journal.Tx, key string)) {
	t.Helper()
	for i := range ends {
		err := j.Commit(t.Context(), func(tx *journal.Tx) error {
			key := fmt.Sprintf("%064d", i)
			change(tx, key)
			tx.Append(journal.Event{Type: "container", Action: "die", ID: key,
				Attributes: map[string]string{"exitCode": "0", "image": "busybox"}})
			return nil
		})
		if err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
	}
}
