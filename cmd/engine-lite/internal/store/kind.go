package store

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/journal"
)

// Kind is one kind of record: a name in the journal and the form of a record there. Records are JSON objects, but for
// those of [Text].
type Kind[T any] struct {
	// Name is the kind in the journal. A new name needs a new Format.
	Name string
	// Formerly is the kind's name in journals of format 1; empty where it was the same.
	Formerly string
	// What a record is called in errors, such as "container".
	What string
	// Schema is where a record has the version of its stored form: the number of Steps. A record with a higher one is
	// unreadable. The number rises only where the release before would misread a record: fields that a release does not
	// know are kept. nil for kinds without a schema.
	Schema func(v *T) *uint
	// Steps bring a record from schema i to i+1. No step ever changes.
	Steps []Step
	// Valid returns why a record makes no sense under its key. nil where every one does.
	Valid func(key string, v T) error

	text bool
}

// Registered is a Kind of any type.
type Registered interface {
	name() string
	formerly() string
	// check returns why a stored record cannot be read; nil where it can.
	check(key string, raw []byte) error
	// schemas tells whether records may have an older schema than that of this release.
	schemas() bool
	// raise returns a record in the schema of this release; nil where it has that, or cannot be read.
	raise(raw []byte) []byte
}

// Text is a kind whose records are strings, stored as they are.
func Text(name, what string) Kind[string] { return Kind[string]{Name: name, What: what, text: true} }

func (k Kind[T]) name() string     { return k.Name }
func (k Kind[T]) formerly() string { return k.Formerly }
func (k Kind[T]) schemas() bool    { return len(k.Steps) > 0 }

func (k Kind[T]) check(key string, raw []byte) error {
	_, err := k.Decode(key, raw)
	return err
}

func (k Kind[T]) raise(raw []byte) []byte {
	n, err := schemaOf(raw)
	if err != nil || n >= uint(len(k.Steps)) {
		return nil
	}
	raised, err := raise(raw, n, k.Steps)
	if err != nil {
		return nil
	}
	return raised
}

// Decode reads a record as it is stored. The error is DataLoss, and a [NewerSchemaError] where that is the reason.
func (k Kind[T]) Decode(key string, raw []byte) (T, error) {
	v, err := k.decode(key, raw)
	if err != nil {
		var none T
		return none, fmt.Errorf("%s record %s: %w: %w", k.What, key, err, errdefs.ErrDataLoss)
	}
	return v, nil
}

func (k Kind[T]) decode(key string, raw []byte) (v T, err error) {
	if k.text {
		*any(&v).(*string) = string(raw)
		return v, nil
	}
	if v, err = k.unmarshal(raw); err == nil && k.Valid != nil {
		err = k.Valid(key, v)
	}
	return v, err
}

// unmarshal reads a record of any schema up to that of this release.
func (k Kind[T]) unmarshal(raw []byte) (v T, err error) {
	err = Unmarshal(raw, &v)
	if k.Schema == nil {
		return v, err
	}
	newest := uint(len(k.Steps))
	var found uint
	var unread error
	if err == nil {
		found = *k.Schema(&v)
	} else {
		found, unread = schemaOf(raw) // the reason may be that a newer release has it otherwise, or that an older one had
	}
	switch {
	case unread != nil || found == newest:
		return v, err
	case found > newest:
		return v, &NewerSchemaError{Found: found, Newest: newest}
	}
	if raw, err = raise(raw, found, k.Steps); err != nil {
		return v, err
	}
	var raised T
	err = Unmarshal(raw, &raised)
	return raised, err
}

// Get returns a record; false where there is none. The error is DataLoss where the record cannot be read.
func (k Kind[T]) Get(r journal.Reader, key string) (T, bool, error) {
	raw, ok := r.Get(k.Name, key)
	if !ok {
		var none T
		return none, false, nil
	}
	v, err := k.Decode(key, raw)
	return v, true, err
}

// Put writes a record, in the schema of this release.
func (k Kind[T]) Put(t *Tx, key string, v T) error {
	raw, err := k.Encode(v)
	if err != nil {
		return fmt.Errorf("%s record %s: %w", k.What, key, err)
	}
	t.write(k.Name).Put(k.Name, key, raw)
	return nil
}

// Encode returns a record as it is stored, in the schema of this release.
func (k Kind[T]) Encode(v T) ([]byte, error) {
	if k.text {
		return []byte(any(v).(string)), nil
	}
	if k.Schema != nil {
		if n := k.Schema(&v); *n != uint(len(k.Steps)) {
			*n = uint(len(k.Steps))
		}
	}
	return Marshal(v)
}

// Delete removes a record. That there is none is no error.
func (k Kind[T]) Delete(t *Tx, key string) { t.write(k.Name).Delete(k.Name, key) }

// ForEach calls fn for each record, in the order of the keys, until fn fails. It returns fn's error, or DataLoss for a
// record that cannot be read.
func (k Kind[T]) ForEach(r journal.Reader, fn func(key string, v T) error) error {
	return r.ForEach(k.Name, k.visit(fn))
}

// ForEachPrefix is ForEach for the keys that begin with prefix.
func (k Kind[T]) ForEachPrefix(s *journal.Snapshot, prefix string, fn func(key string, v T) error) error {
	return s.ForEachPrefix(k.Name, prefix, k.visit(fn))
}

func (k Kind[T]) visit(fn func(key string, v T) error) func(string, []byte) error {
	return func(key string, raw []byte) error {
		v, err := k.Decode(key, raw)
		if err != nil {
			return err
		}
		return fn(key, v)
	}
}

// ForEachOr is ForEach, except that it calls unread with each record that cannot be read, as it is stored, and why.
func (k Kind[T]) ForEachOr(r journal.Reader, fn func(key string, v T) error, unread func(key string, raw []byte, why error) error) error {
	return r.ForEach(k.Name, func(key string, raw []byte) error {
		v, err := k.Decode(key, raw)
		if err != nil {
			return unread(key, raw, err)
		}
		return fn(key, v)
	})
}
