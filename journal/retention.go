package journal

import (
	"fmt"
	"math"
	"time"

	"github.com/containerd/errdefs"
)

const (
	maxSlackBytes = 64 << 10
	maxSlackAge   = time.Minute
	minDrop       = 256 // events that a commit may drop however few it appends
)

// bounds are a size and an age of all events together.
type bounds struct {
	bytes uint64
	age   time.Duration
}

// bounds returns the bounds at which events begin to be dropped, and the bounds down to which they are dropped. Because
// of the difference most commits drop nothing.
func (o Options) bounds() (trigger, target bounds) {
	trigger = bounds{bytes: math.MaxUint64, age: math.MaxInt64}
	target = trigger
	if o.MaxBytes >= 0 {
		trigger.bytes = uint64(o.MaxBytes)
		target.bytes = trigger.bytes - min(maxSlackBytes, trigger.bytes/16)
	}
	if o.MaxAge >= 0 && o.MaxAge < math.MaxInt64-maxSlackAge {
		trigger.age = o.MaxAge + min(maxSlackAge, o.MaxAge/16)
		target.age = o.MaxAge
	}
	return trigger, target
}

// retain drops the oldest events if the events exceed the bounds, but no event of this transaction, and not the newest
// one. It drops at most minDrop events and two for each that the transaction appends: after the bounds were lowered it
// takes several commits.
func (g *group) retain() error {
	p := &g.after
	limit, target := g.j.opts.bounds()
	now := g.j.opts.Now().UnixNano()
	budget := minDrop + 2*(p.newest-g.before.newest)
	for ; budget > 0 && p.oldest <= g.before.newest && p.oldest < p.newest; budget-- {
		kept := bounds{bytes: p.tail.start - p.first.start, age: time.Duration(now - p.first.appended)}
		if kept.bytes <= limit.bytes && kept.age <= limit.age {
			return nil
		}
		if err := g.drop(); err != nil {
			return err
		}
		limit = target
	}
	return nil
}

// drop deletes the oldest event and makes the next one the oldest.
func (g *group) drop() error {
	p := &g.after
	if err := g.events.Delete(eventKey(p.oldest)); err != nil {
		return err
	}
	p.oldest++
	first, _, err := g.events.stampOf(p.oldest)
	p.first = first
	return err
}

// stampOf returns the stamp of an event, and the length of its stored form. Errors are of class DataLoss.
func (b bucket) stampOf(seq uint64) (stamp, int, error) {
	key := eventKey(seq)
	sealed := b.Get(key)
	if sealed == nil {
		return stamp{}, 0, fmt.Errorf("event %d is missing: %w", seq, errdefs.ErrDataLoss)
	}
	unsealed, err := unseal(key, sealed)
	if err != nil {
		return stamp{}, 0, err
	}
	s, _, err := decodeStamp(unsealed)
	return s, len(sealed), err
}
