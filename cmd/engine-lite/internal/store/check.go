package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/engine-lite/engine-lite/journal"
)

// Comparison finds where records and events contradict each other.
type Comparison interface {
	// Records reads the records, as one commit left them. It passes over those that cannot be read: Check has reported
	// them.
	Records(r journal.Reader) error
	// Event gets the events up to that commit, oldest first, as far as they are kept.
	Event(ev journal.Event)
	// Findings are sentences, one for each contradiction.
	Findings() []string
}

// Check returns what is wrong with a journal: with its file, else with single records, and what the comparisons find.
func Check(ctx context.Context, j Journal, kinds []Registered, comparisons ...Comparison) ([]string, error) {
	var found []string
	err := j.Check(ctx, func(finding string) { found = append(found, finding) })
	if err != nil || len(found) > 0 {
		return found, err
	}
	var newest uint64
	err = j.View(func(s *journal.Snapshot) error {
		newest = s.Newest()
		r := earlier{s, kinds, j.Format()}
		found = checkRecords(r, kinds)
		var errs []error
		for _, c := range comparisons {
			errs = append(errs, c.Records(r))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return found, err
	}
	if err := replay(ctx, j, newest, comparisons); err != nil {
		return nil, err
	}
	for _, c := range comparisons {
		found = append(found, c.Findings()...)
	}
	return found, nil
}

// checkRecords returns a sentence for each record that cannot be read.
func checkRecords(r journal.Reader, kinds []Registered) (found []string) {
	for _, k := range kinds {
		err := r.ForEach(k.name(), func(key string, raw []byte) error {
			if err := k.check(key, raw); err != nil {
				found = append(found, fmt.Sprintf("the %v", err))
			}
			return nil
		})
		if err != nil {
			found = append(found, err.Error())
		}
	}
	return found
}

// replay hands the events up to newest to the comparisons. Events that are dropped meanwhile say nothing that later
// ones do not.
func replay(ctx context.Context, j Journal, newest uint64, comparisons []Comparison) error {
	cursor := j.Cursor(j.Oldest() - 1)
	for cursor.Position() < newest {
		ev, err := cursor.Next(ctx)
		var old *journal.TooOldError
		if errors.As(err, &old) {
			cursor = j.Cursor(old.Oldest - 1)
			continue
		}
		if err != nil {
			return err
		}
		if ev.Seq > newest {
			continue
		}
		for _, c := range comparisons {
			c.Event(ev)
		}
	}
	return nil
}

// earlier reads a journal that was not migrated yet: it finds the kinds by the names that they have in its format.
type earlier struct {
	journal.Reader
	kinds  []Registered
	format uint32
}

func (e earlier) named(kind string) string {
	for _, k := range e.kinds {
		if k.name() == kind {
			return nameIn(k, e.format)
		}
	}
	return kind
}

func (e earlier) Get(kind, key string) ([]byte, bool) { return e.Reader.Get(e.named(kind), key) }

func (e earlier) ForEach(kind string, fn func(key string, value []byte) error) error {
	return e.Reader.ForEach(e.named(kind), fn)
}
