package journal

import (
	"compress/gzip"
	"io"
	"maps"
	"os"
	"testing"
	"time"
)

// A journal of format 1, as the first release wrote it (packed, since most of it is empty). Today's code reads it and
// writes to it.
func TestJournalV1(t *testing.T) {
	packed, err := os.Open("testdata/v1/journal.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	path := newPath(t)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, path, unbounded)
	at := time.Date(2026, 1, 1, 0, 0, 0, 5, time.UTC)
	want := []Event{
		{
			Time: at, Type: "container", Action: "create", ID: "c1",
			Attributes: map[string]string{"name": "box", "image": "busybox"},
		},
		{Time: at.Add(time.Second), Type: "container", Action: "start", ID: "c1", Generation: 1},
		{
			Time: at.Add(2 * time.Second), Type: "container", Action: "die", ID: "c1", Generation: 1, Recovered: true,
			Attributes: map[string]string{"exitCode": "7"},
		},
	}
	cursor := j.Cursor(0)
	for i, w := range want {
		e, ok, err := cursor.Poll()
		if err != nil || !ok || e.Seq != uint64(i+1) || !e.Time.Equal(w.Time) || e.Type != w.Type ||
			e.Action != w.Action || e.ID != w.ID ||
			e.Generation != w.Generation || e.Recovered != w.Recovered || !maps.Equal(e.Attributes, w.Attributes) {
			t.Errorf("event %d: %+v, %t, %v", i+1, e, ok, err)
		}
	}
	records := map[string]string{}
	err = j.View(func(s *Snapshot) error {
		for _, kind := range []string{"container", "name"} {
			if err := s.ForEach(kind, func(key string, value []byte) error {
				records[kind+"/"+key] = string(value)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	stored := map[string]string{"container/c1": `{"ID":"c1","Status":"running"}`, "name/other": ""}
	if err != nil || !maps.Equal(records, stored) {
		t.Errorf("records %v, %v", records, err)
	}
	appendEvents(t, j, 1)
	if n := j.Newest(); n != 4 {
		t.Errorf("the next event is %d", n)
	}
}
