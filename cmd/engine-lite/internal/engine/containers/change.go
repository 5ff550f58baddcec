package containers

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// Change is one step of a container's record, committed with its events.
type Change struct {
	// Mutate changes the record; an error leaves everything as it was.
	Mutate func(r *record.Record) error
	// Action is the event's name; empty for a change without an event.
	Action string
	// Attributes are added to those that every event of the container has.
	Attributes func(r *record.Record) map[string]string
	// Recovered marks an event that was found out afterwards.
	Recovered bool
	// Hold keeps the event, which is a die, from subscribers until store.Release is called with its number.
	Hold bool
	// Also writes what belongs into the same transaction; nil for nothing.
	Also func(tx *store.Tx, r *record.Record) error
}

// Commit applies a change to the container's record and appends its event in
// one transaction, and publishes the new record. It returns it and the event's
// number.
func (o *Container) Commit(ctx context.Context, c Change) (*record.Record, uint64, error) {
	var next *record.Record
	var seq uint64
	err := o.store.Update(ctx, func(tx *store.Tx) error {
		r, err := record.Load(tx, o.ID)
		if err != nil {
			return err
		}
		if err := c.Mutate(r); err != nil {
			return err
		}
		r.Version++
		if c.Action != "" {
			seq = tx.Append(Event(r, c))
			if c.Hold {
				tx.Hold(seq)
				r.DieSeq = seq
			}
		}
		if err := r.Put(tx); err != nil {
			return err
		}
		if c.Also != nil {
			if err := c.Also(tx, r); err != nil {
				return err
			}
		}
		next = r
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	o.publish(next)
	return next, seq, nil
}

// MaxLabels bounds the bytes that a container's labels have, so that each event
// that tells of it fits into the journal: an exit must never be refused there.
const MaxLabels = 512 << 10

// CheckLabels refuses a record whose labels are too large for an event.
func CheckLabels(r *record.Record) error {
	size := len(r.ImageName)
	for key, value := range r.Config.Labels {
		size += len(key) + len(value)
	}
	if size > MaxLabels {
		return classed.Errorf(errdefs.ErrInvalidArgument, "the container's labels have %d bytes, more than %d", size, MaxLabels)
	}
	return nil
}

// Event is the event of a change, with the attributes that Docker's
// events of a container have: its labels, image and name.
func Event(r *record.Record, c Change) journal.Event {
	a := map[string]string{}
	if r.Config != nil {
		maps.Copy(a, r.Config.Labels)
		a = fitting(a)
	}
	a["image"], a["name"] = r.ImageName, r.Name
	if c.Attributes != nil {
		maps.Copy(a, c.Attributes(r))
	}
	return journal.Event{
		Time: time.Now().UTC(), Type: "container", Action: cut(c.Action, maxAction), ID: r.ID,
		Generation: r.Generation, Attributes: a, Recovered: c.Recovered,
	}
}

// An event has less than 1 MiB (journal.Tx.Append), and must never be refused: an exit may wait behind it. So what users
// choose without a bound is cut: the command of an exec, which is in the action, and labels, which the annotations of an
// external container are, too.
const (
	maxAction    = 256 << 10 // bytes
	maxAllLabels = 640 << 10 // bytes of all keys and values: above MaxLabels
	longLabel    = 1 << 10   // bytes that are left of a value that is cut
)

// fitting returns labels with the longest values cut, so that all together have maxAllLabels bytes at most. Where
// that is not enough, labels are left out. It changes a.
func fitting(a map[string]string) map[string]string {
	sizeOf := func(key string) int { return len(key) + len(a[key]) + 2*binary.MaxVarintLen32 } // with both lengths
	size := 0
	for key := range a {
		size += sizeOf(key)
	}
	if size <= maxAllLabels {
		return a
	}
	longestFirst := slices.SortedFunc(maps.Keys(a), func(x, y string) int {
		return cmp.Or(len(a[y])-len(a[x]), strings.Compare(x, y))
	})
	for _, key := range longestFirst {
		if size <= maxAllLabels || len(a[key]) <= longLabel {
			break
		}
		size -= sizeOf(key)
		a[key] = cut(a[key], longLabel)
		size += sizeOf(key)
	}
	for _, key := range longestFirst { // so many are no use to anybody
		if size <= maxAllLabels {
			break
		}
		size -= sizeOf(key)
		delete(a, key)
	}
	return a
}

// cut leaves the beginning of a text that is longer than limit bytes, with three dots behind it.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const dots = "..."
	return strings.ToValidUTF8(text[:limit-len(dots)], "") + dots
}

// ErrUnchanged leaves a record as it is.
var ErrUnchanged = errors.New("nothing to change")

// Notify appends an event that changes nothing, whether its caller has gone or
// not: what it tells of has been done. A container that was removed meanwhile
// has none, which is no error.
func (o *Container) Notify(ctx context.Context, action string, attributes map[string]string) error {
	_, _, err := o.Commit(context.WithoutCancel(ctx), Change{
		Mutate: func(*record.Record) error { return nil }, Action: action,
		Attributes: func(*record.Record) map[string]string { return attributes },
	})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// IgnoreGone takes a container that was removed meanwhile as what was wanted.
func IgnoreGone(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
