package journal

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// What a cursor reads at once, and so all that it ever holds: that many events, or the one that goes beyond that many
// bytes.
const (
	batchEvents = 32
	batchBytes  = 32 << 10
)

// Cursor is a position between two events. It needs no closing and holds nothing but a small batch of what comes next.
// It is for one goroutine at a time.
type Cursor struct {
	j     *Journal
	after uint64
	batch []Event // read, but not returned yet; in order, right behind after
}

// Cursor returns a cursor whose first event is the one after that number: 0 for the first event ever, Newest for only
// those to come. That there is no such position any more, or yet, is told by Next.
func (j *Journal) Cursor(after uint64) *Cursor {
	return &Cursor{j: j, after: after}
}

// CursorSince returns a cursor that stands right before the first event with a Time of t or later, of those that are
// kept; if there is none, behind the newest event.
//
// It misses no kept event of t or later. But since the times of events need not grow with their numbers, ones from
// before t may come after it; and where the events that were latest are no longer kept, it may stand further ahead than
// it has to. So who wants only events since t looks at their times as well. Errors: [ErrClosed], DataLoss.
func (j *Journal) CursorSince(t time.Time) (*Cursor, error) {
	var after uint64
	err := j.read(func(tx *bolt.Tx) error {
		return contain(func() (err error) {
			after, err = searchMark(tx, nanoseconds(t))
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return j.Cursor(after), nil
}

// searchMark returns the number before that of the first event whose mark is not below limit. Marks never fall, and the
// first one that reaches a time is that of the first event that does.
func searchMark(tx *bolt.Tx, limit int64) (uint64, error) {
	events, err := openBucket(tx, eventsBucket)
	if err != nil {
		return 0, err
	}
	oldest, newest := events.oldest(), events.Sequence()
	n := sort.Search(int(newest+1-oldest), func(i int) bool {
		s, _, stampErr := events.stampOf(oldest + uint64(i))
		if stampErr != nil {
			err = stampErr
		}
		return s.mark >= limit
	})
	return oldest + uint64(n) - 1, err
}

// Position returns the number of the event that was returned last, at first what the cursor was made with.
func (c *Cursor) Position() uint64 { return c.after }

// Check returns the error that Next has for the cursor's position, without waiting for an event: nil where there is one
// or one can come.
func (c *Cursor) Check() error {
	s := c.j.current()
	switch {
	case s.closed:
		return ErrClosed
	case len(c.batch) > 0 || c.after == s.newest:
		return nil
	}
	return c.fill(s.position)
}

// Next returns the next event, and waits until there is one. It returns a [*TooOldError] when that event is no longer
// kept, a [*TooNewError] when the position lies behind the newest event, [ErrClosed] after the journal's Close, ctx's
// error once ctx ends, and an error of class DataLoss where the file can't be understood. After an error the cursor
// stands where it stood.
func (c *Cursor) Next(ctx context.Context) (Event, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Event{}, fmt.Errorf("cannot wait for event %d: %w", c.after+1, err)
		}
		s, changed := c.j.watch()
		e, ok, err := c.poll(s)
		if ok || err != nil {
			return e, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Poll is like Next, but returns false where Next would wait.
func (c *Cursor) Poll() (Event, bool, error) { return c.poll(c.j.current()) }

func (c *Cursor) poll(s state) (Event, bool, error) {
	if s.closed {
		return Event{}, false, ErrClosed
	}
	if len(c.batch) == 0 {
		if c.after == s.newest {
			return Event{}, false, nil
		}
		if err := c.fill(s.position); err != nil {
			return Event{}, false, err
		}
	}
	e := c.batch[0]
	c.batch = c.batch[1:]
	if len(c.batch) == 0 {
		c.batch = nil
	}
	c.after = e.Seq
	return e, true, nil
}

// fill reads at least one event behind after, and none behind p.newest.
func (c *Cursor) fill(p position) error {
	if c.after > p.newest {
		return &TooNewError{After: c.after, Newest: p.newest}
	}
	return c.j.read(func(tx *bolt.Tx) error {
		return contain(func() (err error) {
			c.batch, err = readBatch(tx, c.after, p.newest)
			return err
		})
	})
}

// readBatch returns the events after one number up to another, at least one of them, as many as make a batch.
func readBatch(tx *bolt.Tx, after, last uint64) ([]Event, error) {
	events, err := openBucket(tx, eventsBucket)
	if err != nil {
		return nil, err
	}
	var batch []Event
	bytes := 0
	cursor := events.Cursor()
	key, sealed := cursor.Seek(eventKey(after + 1))
	for seq := after + 1; seq <= last && len(batch) < batchEvents && bytes < batchBytes; seq++ {
		if found := seqOf(key); found != seq {
			return nil, missing(events, after, seq)
		}
		e, err := openEvent(key, sealed)
		if err != nil {
			return nil, err
		}
		batch = append(batch, e)
		bytes += len(sealed)
		key, sealed = cursor.Next()
	}
	return batch, nil
}

// missing tells why an event isn't there: it was dropped, or it is lost.
func missing(events bucket, after, seq uint64) error {
	if oldest := events.oldest(); seq < oldest {
		return &TooOldError{After: after, Oldest: oldest}
	}
	return fmt.Errorf("event %d is missing: %w", seq, errdefs.ErrDataLoss)
}

// oldest returns the number of the first event in the bucket, or of the next one if there is none.
func (b bucket) oldest() uint64 {
	if first, _ := b.Cursor().First(); first != nil {
		return seqOf(first)
	}
	return b.Sequence() + 1
}

func openEvent(key, sealed []byte) (Event, error) {
	unsealed, err := unseal(key, sealed)
	if err != nil {
		return Event{}, err
	}
	_, body, err := decodeStamp(unsealed)
	if err != nil {
		return Event{}, err
	}
	e, err := decodeEvent(body)
	e.Seq = seqOf(key)
	return e, err
}
