package store

import (
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/journal"
)

// Kind is one kind of record: a name in the journal and the form of a record there.
type Kind[T any] struct {
	// Name is the kind in the journal. It never changes: it is on users' disks.
	Name string
	// What a record is called in errors, such as "container".
	What string
	// Encode and Decode are the stored form. Where they are nil it is JSON.
	Encode func(v T) ([]byte, error)
	Decode func(raw []byte) (T, error)
}

// Registered is a Kind of any type.
type Registered interface {
	name() string
	// check returns why a stored record cannot be read; nil where it can.
	check(key string, raw []byte) error
}

// Text is a kind whose records are strings, stored as they are.
func Text(name, what string) Kind[string] {
	return Kind[string]{
		Name: name, What: what,
		Encode: func(v string) ([]byte, error) { return []byte(v), nil },
		Decode: func(raw []byte) (string, error) { return string(raw), nil },
	}
}

func (k Kind[T]) name() string { return k.Name }

func (k Kind[T]) check(key string, raw []byte) error {
	_, err := k.decode(key, raw)
	return err
}

func (k Kind[T]) decode(key string, raw []byte) (T, error) {
	var v T
	var err error
	if k.Decode != nil {
		v, err = k.Decode(raw)
	} else {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		return v, fmt.Errorf("%s record %s: %w: %w", k.What, key, err, errdefs.ErrDataLoss)
	}
	return v, nil
}

// Get returns a record; false where there is none. The error is DataLoss where the record cannot be read.
func (k Kind[T]) Get(r journal.Reader, key string) (T, bool, error) {
	raw, ok := r.Get(k.Name, key)
	if !ok {
		var none T
		return none, false, nil
	}
	v, err := k.decode(key, raw)
	return v, true, err
}

// Put writes a record.
func (k Kind[T]) Put(t *Tx, key string, v T) error {
	var raw []byte
	var err error
	if k.Encode != nil {
		raw, err = k.Encode(v)
	} else {
		raw, err = json.Marshal(v)
	}
	if err != nil {
		return fmt.Errorf("%s record %s: %w", k.What, key, err)
	}
	t.write(k.Name).Put(k.Name, key, raw)
	return nil
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
		v, err := k.decode(key, raw)
		if err != nil {
			return err
		}
		return fn(key, v)
	}
}
