package journal

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
)

// sound makes a journal with branch pages, records of several pages and free pages. It returns the file, its events and
// its records.
func sound(t testing.TB) (file []byte, events []string, kept map[string]string) {
	t.Helper()
	path := newPath(t)
	j := open(t, path, unbounded)
	for i := range 12 {
		commit(t, j, func(tx *Tx) {
			for k := range 20 {
				appendNumbered(tx)
				tx.Put("n", fmt.Sprintf("%03d", i*20+k), make([]byte, 100))
			}
			tx.Put("n", "large", make([]byte, i<<10))
		})
	}
	events, kept = everything(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := newestMeta(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return file[:m.highWater*uint64(m.pageSize)], events, kept
}

func everything(t testing.TB, j *Journal) ([]string, map[string]string) {
	t.Helper()
	var events []string
	for _, e := range allEvents(t, j) {
		events = append(events, fmt.Sprint(e))
	}
	return events, records(t, j, "n")
}

// checkDamaged opens a damaged file. Open refuses it, or all that can be read of it is as before the damage.
func checkDamaged(t testing.TB, path string, file []byte, events []string, kept map[string]string) (opened bool) {
	t.Helper()
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := Open(path, unbounded)
	if err != nil {
		if !errdefs.IsDataLoss(err) && !errdefs.IsFailedPrecondition(err) {
			t.Errorf("got %v", err)
		}
		return false
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := records(t, j, "n"); !maps.Equal(got, kept) {
		t.Errorf("%d records, and there were %d", len(got), len(kept))
	}
	for c := j.Cursor(0); ; {
		e, ok, err := c.Poll()
		if errdefs.IsDataLoss(err) {
			break
		}
		if err != nil || !ok && c.Position() != uint64(len(events)) {
			t.Errorf("after event %d of %d: %v", c.Position(), len(events), err)
		}
		if err != nil || !ok {
			break
		}
		if fmt.Sprint(e) != events[e.Seq-1] {
			t.Errorf("event %d is %v", e.Seq, e)
		}
	}
	err = j.Commit(t.Context(), func(tx *Tx) error { tx.Put("n", "new", nil); appendNumbered(tx); return nil })
	if err != nil && !errdefs.IsDataLoss(err) {
		t.Errorf("commit: %v", err)
	}
	return true
}

// TestDamagedAnywhere flips bits, zeroes pages, copies them over others and cuts the file off, at random places behind
// the meta pages.
func TestDamagedAnywhere(t *testing.T) {
	file, events, kept := sound(t)
	path := newPath(t)
	metas := 2 * os.Getpagesize()
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	const rounds = 600
	for range rounds {
		damaged := slices.Clone(file)
		page := func() []byte {
			at := metas + random.IntN((len(file)-metas)/os.Getpagesize())*os.Getpagesize()
			return damaged[at : at+os.Getpagesize()]
		}
		switch random.IntN(5) {
		case 0:
			damaged[metas+random.IntN(len(file)-metas)] ^= 1 << random.IntN(8)
		case 1: // where most of the structure is
			page()[random.IntN(64)] ^= byte(1 + random.IntN(255))
		case 2:
			clear(page())
		case 3:
			copy(page(), page())
		case 4:
			damaged = damaged[:random.IntN(len(file))]
		}
		if !checkDamaged(t, path, damaged, events, kept) {
			refused++
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	if refused < rounds/10 || refused == rounds {
		t.Errorf("%d of %d were refused", refused, rounds)
	}
	t.Logf("%d of %d were refused", refused, rounds)
}

func FuzzDamaged(f *testing.F) {
	file, events, kept := sound(f)
	metas := 2 * os.Getpagesize()
	f.Add(uint32(0), []byte{1})
	f.Add(uint32(8), []byte{0x10, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		damaged := slices.Clone(file)
		copy(damaged[metas+int(at)%(len(file)-metas):], change)
		checkDamaged(t, filepath.Join(t.TempDir(), "journal.db"), damaged, events, kept)
	})
}
