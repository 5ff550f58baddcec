package journal

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// model is what a journal should hold. Commit functions run one at a time, so it needs no lock while there are no
// others.
type model struct {
	records map[string]map[string]string // by kind
	events  []string                     // actions; the first one's number is 1
}

func (m model) clone() model {
	c := model{records: make(map[string]map[string]string), events: slices.Clone(m.events)}
	for kind, records := range m.records {
		c.records[kind] = maps.Clone(records)
	}
	return c
}

var kinds = []string{"a", "aa", "b"}

// step does the same random thing to the journal and the model, or compares them.
func step(t *testing.T, r *rand.Rand, tx *Tx, m *model) {
	kind, key := kinds[r.IntN(len(kinds))], fmt.Sprint(r.IntN(30))
	switch r.IntN(6) {
	case 0, 1:
		value := fmt.Sprintf("%0*d", r.IntN(300), r.IntN(1000))
		tx.Put(kind, key, []byte(value))
		m.records[kind][key] = value
	case 2:
		tx.Delete(kind, key)
		delete(m.records[kind], key)
	case 3:
		action := fmt.Sprint(r.Uint64())
		m.events = append(m.events, action)
		if seq := tx.Append(Event{Action: action}); seq != uint64(len(m.events)) {
			t.Errorf("number %d instead of %d", seq, len(m.events))
		}
	case 4:
		want, there := m.records[kind][key]
		if got, ok := tx.Get(kind, key); ok != there || string(got) != want {
			t.Errorf("%s %s: got %q, %v instead of %q, %v", kind, key, got, ok, want, there)
		}
	case 5:
		compare(t, tx, kind, m.records[kind])
	}
}

// compare checks all records of a kind, and their order.
func compare(t *testing.T, r Reader, kind string, want map[string]string) {
	t.Helper()
	var keys []string
	err := r.ForEach(kind, func(key string, value []byte) error {
		keys = append(keys, key)
		if want[key] != string(value) {
			t.Errorf("%s %s: got %q instead of %q", kind, key, value, want[key])
		}
		return nil
	})
	if err != nil || !slices.Equal(keys, slices.Sorted(maps.Keys(want))) {
		t.Errorf("%s: keys %q, %v", kind, keys, err)
	}
}

// verify compares a journal with the model and checks its file. No commit may be under way.
func verify(t *testing.T, j *Journal, m model) {
	t.Helper()
	err := j.View(func(s *Snapshot) error {
		for _, kind := range kinds {
			compare(t, s, kind, m.records[kind])
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	events := allEvents(t, j)
	for i, e := range events {
		if e.Seq != uint64(i+1) || e.Action != m.events[i] {
			t.Errorf("event %d: %+v instead of %q", i+1, e, m.events[i])
		}
	}
	if len(events) != len(m.events) {
		t.Errorf("%d events instead of %d", len(events), len(m.events))
	}
	err = j.db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRandomCommitsAgreeWithAModel(t *testing.T) {
	path := newPath(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := model{records: map[string]map[string]string{"a": {}, "aa": {}, "b": {}}}
	for round := range 5 {
		j := open(t, path, unbounded)
		var workers sync.WaitGroup
		for w := range 8 {
			r := rand.New(rand.NewPCG(seed, uint64(round*8+w)))
			workers.Go(func() {
				for range 60 {
					randomCommit(t, r, j, &m)
				}
			})
		}
		workers.Wait()
		verify(t, j, m)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// randomCommit commits some steps, or fails after some.
func randomCommit(t *testing.T, r *rand.Rand, j *Journal, m *model) {
	fails := r.IntN(4) == 0
	err := j.Commit(t.Context(), func(tx *Tx) error {
		draft := m.clone()
		for range r.IntN(8) {
			step(t, r, tx, &draft)
		}
		if fails {
			return errRefused
		}
		*m = draft
		return nil
	})
	if (err != nil) != fails {
		t.Errorf("got %v", err)
	}
}
