package containers

import (
	"context"
	"errors"
	"maps"
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
	var labels map[string]string
	if r.Config != nil {
		labels = r.Config.Labels
	}
	a := store.FittingLabels(labels)
	a["image"], a["name"] = r.ImageName, r.Name
	if c.Attributes != nil {
		maps.Copy(a, c.Attributes(r))
	}
	return journal.Event{
		Time: time.Now().UTC(), Type: "container", Action: store.Cut(c.Action, maxAction), ID: r.ID,
		Generation: r.Generation, Attributes: a, Recovered: c.Recovered,
	}
}

// maxAction bounds the bytes of an action: the command of an exec is in it.
const maxAction = 256 << 10

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
