package journal

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"
)

var farFuture = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestATransactionSeesItsOwnWrites(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	commit(t, j, func(tx *Tx) {
		for _, k := range []string{"b", "d", "f"} {
			tx.Put("n", k, []byte("old"))
		}
		tx.Put("m", "z", []byte("other kind"))
		tx.Put("n2", "z", []byte("other kind"))
	})
	commit(t, j, func(tx *Tx) {
		tx.Put("n", "a", []byte("new"))
		tx.Put("n", "d", []byte("new"))
		tx.Put("n", "e", []byte{})
		tx.Put("n", "g", []byte("new"))
		tx.Delete("n", "b")
		tx.Delete("n", "absent")
		var keys []string
		err := tx.ForEach("n", func(key string, value []byte) error {
			keys = append(keys, key+"="+string(value))
			tx.Delete("n", "f")
			tx.Put("n", "zz", nil)
			return nil
		})
		if want := []string{"a=new", "d=new", "e=", "f=old", "g=new"}; err != nil || !slices.Equal(keys, want) {
			t.Errorf("got %q, %v", keys, err)
		}
		if _, ok := tx.Get("n", "b"); ok {
			t.Error("a deleted record is there")
		}
		if v, ok := tx.Get("n", "e"); !ok || len(v) != 0 {
			t.Errorf("an empty record: %q, %v", v, ok)
		}
	})
	want := map[string]string{"a": "new", "d": "new", "e": "", "g": "new", "zz": ""}
	if got := records(t, j, "n"); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestForEachStopsAtAnError(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	commit(t, j, func(tx *Tx) { tx.Put("n", "b", nil); tx.Put("n", "d", nil) })
	for stop := range 4 {
		err := j.Commit(t.Context(), func(tx *Tx) error {
			tx.Put("n", "a", nil)
			tx.Put("n", "c", nil)
			left := stop
			return tx.ForEach("n", func(string, []byte) error {
				if left--; left < 0 {
					return errRefused
				}
				return nil
			})
		})
		if !errors.Is(err, errRefused) {
			t.Errorf("after %d: %v", stop, err)
		}
	}
	err := j.View(func(s *Snapshot) error {
		return s.ForEach("n", func(string, []byte) error { return errRefused })
	})
	if !errors.Is(err, errRefused) {
		t.Errorf("snapshot: %v", err)
	}
}

func TestValuesAreCopies(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	value := []byte("value")
	commit(t, j, func(tx *Tx) {
		tx.Put("n", "k", value)
		value[0] = 'X'
		staged, _ := tx.Get("n", "k")
		staged[1] = 'X'
	})
	var kept []byte
	err := j.View(func(s *Snapshot) error {
		kept, _ = s.Get("n", "k")
		kept[2] = 'X'
		again, _ := s.Get("n", "k")
		if !bytes.Equal(again, []byte("value")) {
			t.Errorf("got %q", again)
		}
		return nil
	})
	if err != nil || string(kept) != "vaXue" {
		t.Errorf("got %q, %v", kept, err)
	}
}

func TestASnapshotDoesNotMove(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	appendEvents(t, j, 3)
	entered, leave, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- j.View(func(s *Snapshot) error {
			close(entered)
			<-leave
			if _, ok := s.Get("n", "k"); ok || s.Newest() != 3 {
				t.Errorf("it did: newest %d", s.Newest())
			}
			return nil
		})
	}()
	<-entered
	commit(t, j, func(tx *Tx) { tx.Put("n", "k", nil); appendNumbered(tx) })
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	err := j.View(func(s *Snapshot) error {
		if _, ok := s.Get("n", "k"); !ok || s.Newest() != 4 {
			t.Errorf("the next one shows newest %d", s.Newest())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAPanicInAViewPasses(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	func() {
		defer func() {
			if v := recover(); v != any(errRefused) {
				t.Errorf("recovered %v", v)
			}
		}()
		_ = j.View(func(*Snapshot) error { panic(errRefused) })
	}()
	appendEvents(t, j, 1) // and leaves nothing locked: so does the Close in the end
}

func TestAnEventKeepsAllItsFields(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	e := Event{
		Seq: 77, Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)),
		Type: "container", Action: "die", ID: "abc",
		Generation: 1 << 63, Attributes: map[string]string{"exitCode": "137", "name": "", "": "x"}, Recovered: true,
	}
	before := time.Now()
	commit(t, j, func(tx *Tx) {
		if seq := tx.Append(e); seq != 1 {
			t.Errorf("number %d", seq)
		}
		if seq := tx.Append(Event{}); seq != 2 {
			t.Errorf("number %d", seq)
		}
	})
	got := allEvents(t, j)
	if len(got) != 2 || got[1].Time.Before(before.Round(0)) || got[1].Time.After(time.Now()) ||
		got[1].Attributes != nil {
		t.Fatalf("got %+v", got)
	}
	e.Seq, e.Time = 1, e.Time.UTC()
	if !maps.Equal(got[0].Attributes, e.Attributes) {
		t.Errorf("attributes %v", got[0].Attributes)
	}
	got[0].Attributes, e.Attributes = nil, nil
	if got[0].Time != e.Time || got[0].Generation != e.Generation || !got[0].Recovered || got[0].ID != e.ID {
		t.Errorf("got %+v", got[0])
	}
}
