package journal

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// clock is a wall clock that a test sets.
type clock struct{ nanoseconds atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.nanoseconds.Load()) }
func (c *clock) advance(d time.Duration) { c.nanoseconds.Add(int64(d)) }

func newClock() *clock {
	c := &clock{}
	c.nanoseconds.Store(int64(1_700_000_000 * time.Second))
	return c
}

func TestEventsAreDroppedByAge(t *testing.T) {
	c := newClock()
	path := newPath(t)
	opts := Options{NoSync: true, MaxAge: time.Hour, MaxBytes: -1, Now: c.now}
	j := open(t, path, opts)
	for range 300 {
		appendEvents(t, j, 1)
		c.advance(time.Minute)
	}
	// The last one was appended at minute 299: an hour earlier is 239, which event 240 stands for, and a minute of
	// slack.
	if j.Newest() != 300 || j.Oldest() < 239 || j.Oldest() > 240 {
		t.Errorf("kept: %d to %d", j.Oldest(), j.Newest())
	}
	oldest := j.Oldest()
	lagging := j.Cursor(oldest - 2)
	_, err := lagging.Next(t.Context())
	var tooOld *TooOldError
	if !errors.As(err, &tooOld) || *tooOld != (TooOldError{After: oldest - 2, Oldest: oldest}) ||
		!errdefs.IsOutOfRange(err) {
		t.Errorf("got %v", err)
	}
	if err := lagging.Check(); !errors.As(err, &tooOld) {
		t.Errorf("check: %v", err)
	}
	var tooNew *TooNewError
	for after, ahead := range map[uint64]bool{oldest - 1: false, 300: false, 301: true} {
		if err := j.Cursor(after).Check(); errors.As(err, &tooNew) != ahead || (!ahead && err != nil) {
			t.Errorf("check after %d: %v", after, err)
		}
	}
	expect(t, j.Cursor(tooOld.Oldest-1), 300)
	if s, err := j.CursorSince(time.Time{}); err != nil || s.Position() != oldest-1 {
		t.Errorf("since ever: %d, %v", s.Position(), err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = open(t, path, opts)
	if j.Newest() != 300 || j.Oldest() != oldest {
		t.Errorf("reopened: %d to %d", j.Oldest(), j.Newest())
	}
	c.advance(24 * time.Hour)
	commit(t, j, func(tx *Tx) { tx.Put("n", "k", nil) })
	if j.Oldest() != 300 {
		t.Errorf("the newest is kept for ever, but the oldest is %d", j.Oldest())
	}
	appendEvents(t, j, 1)
	if j.Oldest() != 301 || j.Newest() != 301 {
		t.Errorf("kept: %d to %d", j.Oldest(), j.Newest())
	}
}

func TestTheAgeOfAnEventCountsFromItsAppending(t *testing.T) {
	c := newClock()
	j := open(t, newPath(t), Options{NoSync: true, MaxAge: time.Hour, Now: c.now})
	commit(t, j, func(tx *Tx) { tx.Append(Event{Time: c.now().Add(-24 * time.Hour), Recovered: true}) })
	c.advance(-12 * time.Hour) // the clock is set back
	appendEvents(t, j, 1)
	c.advance(12*time.Hour + 30*time.Minute)
	appendEvents(t, j, 1)
	if j.Oldest() != 1 {
		t.Errorf("oldest is %d", j.Oldest())
	}
	c.advance(45 * time.Minute)
	appendEvents(t, j, 1)
	if j.Oldest() != 3 {
		t.Errorf("oldest is %d", j.Oldest())
	}
}

func TestEventsAreDroppedBySize(t *testing.T) {
	const bound = 64 << 10
	path := newPath(t)
	j := open(t, path, Options{NoSync: true, MaxBytes: bound, MaxAge: -1})
	for range 200 {
		commit(t, j, func(tx *Tx) {
			for range 10 {
				appendNumbered(tx)
			}
		})
		if kept := j.current(); kept.tail.start-kept.first.start > bound {
			t.Fatalf("%d bytes kept", kept.tail.start-kept.first.start)
		}
	}
	kept := j.current()
	if bytes := kept.tail.start - kept.first.start; bytes < bound*7/8 {
		t.Errorf("only %d bytes kept", bytes)
	}
	expect(t, j.Cursor(kept.oldest-1), 2000)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = open(t, path, Options{NoSync: true, MaxBytes: 1000, MaxAge: -1})
	if got := j.current(); got.position.first != kept.first || got.tail != kept.tail || got.oldest != kept.oldest {
		t.Errorf("reopened at %+v instead of %+v", got, kept)
	}
	for commits := 0; j.Newest()-j.Oldest() > 10; commits++ {
		if commits > 8 {
			t.Fatalf("still kept: %d to %d", j.Oldest(), j.Newest())
		}
		before := j.Oldest()
		appendEvents(t, j, 1)
		if dropped := j.Oldest() - before; dropped > minDrop+2 {
			t.Errorf("one commit dropped %d", dropped)
		}
	}
	oldest := j.Newest() + 1
	commit(t, j, func(tx *Tx) {
		for range 100 {
			appendNumbered(tx)
		}
	})
	if j.Oldest() != oldest {
		t.Errorf("of one large commit, events from %d are kept instead of %d", j.Oldest(), oldest)
	}
}

func TestBoundsOfOptions(t *testing.T) {
	for _, o := range []Options{
		{}, {MaxAge: -1, MaxBytes: -1}, {MaxAge: 1<<63 - 1, MaxBytes: 1<<63 - 1}, {MaxAge: 1, MaxBytes: 1},
	} {
		trigger, target := o.withDefaults().bounds()
		if target.age > trigger.age || target.bytes > trigger.bytes || trigger.age < 0 || target.age < 0 {
			t.Errorf("%+v: %+v, %+v", o, trigger, target)
		}
	}
}
