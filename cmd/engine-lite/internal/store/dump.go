package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/engine-lite/engine-lite/journal"
)

// DumpOptions say what of a journal is wanted.
type DumpOptions struct {
	// After is the number after which events begin; nil is the beginning.
	After *uint64
	// Limit is how many events there are at most; 0 is without bound.
	Limit int
	// Records tells that records are wanted too.
	Records bool
}

// DumpLine is a record or an event.
type DumpLine struct {
	Record *DumpRecord `json:"record,omitempty"`
	Event  *DumpEvent  `json:"event,omitempty"`
}

// DumpRecord is a record; its value is as it is stored where that is JSON, else a string.
type DumpRecord struct {
	Kind  string          `json:"kind"`
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// DumpEvent is an event as it is stored.
type DumpEvent struct {
	Seq        uint64            `json:"seq"`
	Time       time.Time         `json:"time"`
	Type       string            `json:"type"`
	Action     string            `json:"action"`
	ID         string            `json:"id"`
	Generation uint64            `json:"generation,omitempty"`
	Recovered  bool              `json:"recovered,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Dump hands over the records, as one commit left them, and the events up to
// the one that is the newest now.
func Dump(ctx context.Context, j Journal, opts DumpOptions, fn func(DumpLine) error) error {
	cursor, last := j.Cursor(j.Oldest()-1), j.Newest()
	if opts.After != nil {
		cursor = j.Cursor(*opts.After)
		if err := cursor.Check(); err != nil {
			return err
		}
	}
	if opts.Records {
		if err := dumpRecords(j, fn); err != nil {
			return err
		}
	}
	for n := 0; cursor.Position() < last && (opts.Limit == 0 || n < opts.Limit); n++ {
		ev, err := cursor.Next(ctx)
		if err != nil {
			return err
		}
		line := DumpEvent{
			Seq: ev.Seq, Time: ev.Time, Type: ev.Type, Action: ev.Action, ID: ev.ID,
			Generation: ev.Generation, Recovered: ev.Recovered, Attributes: ev.Attributes,
		}
		if err := fn(DumpLine{Event: &line}); err != nil {
			return err
		}
	}
	return nil
}

// dumpRecords reads them all before it hands over the first: nobody may hold the
// journal up by reading slowly.
func dumpRecords(j Journal, fn func(DumpLine) error) error {
	var lines []DumpLine
	err := j.View(func(s *journal.Snapshot) error {
		return s.All(func(kind, key string, value []byte) error {
			if !json.Valid(value) {
				var err error
				if value, err = json.Marshal(string(value)); err != nil {
					return err
				}
			}
			lines = append(lines, DumpLine{Record: &DumpRecord{Kind: kind, Key: key, Value: value}})
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, line := range lines {
		if err := fn(line); err != nil {
			return err
		}
	}
	return nil
}
