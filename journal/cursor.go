package journal

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// A cursor reads, and holds, at most that many events at a time, and no further event after that many bytes.
const (
	batchEvents = 32
	batchBytes  = 32 << 10
)

// Cursor is a position between two events. It holds only a small batch of the next events, and is not closed. It is for
// one goroutine at a time.
type Cursor struct {
	j     *Journal
	after uint64
	batch []Event // read, but not returned yet: the events after the position, in order
}

// Cursor returns a cursor whose first event is the one after that number: 0 for the first event ever, Newest for the
// next event to come. If the journal does not have that position, Next returns an error.
func (j *Journal) Cursor(after uint64) *Cursor {
	return &Cursor{j: j, after: after}
}

// CursorSince returns a cursor before the first kept event with a Time of t or later. If there is none, the cursor
// waits for the next event to come.
//
// The cursor misses no kept event of t or later, but may also return earlier ones: a later event may have an earlier
// Time, and where events with late times were dropped, the cursor may be further ahead than it has to. So a caller that
// wants only events since t looks at their times as well. Errors: [ErrClosed], and DataLoss if the file is damaged.
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

// searchMark returns the number before that of the first event whose mark is limit or more. Marks never fall, and the
// first mark that reaches limit is that of the first event whose Time does.
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

// Position returns the number of the event that was returned last. Before that it is the number that the cursor was
// made with.
func (c *Cursor) Position() uint64 { return c.after }

// Check returns the error that Next would return, without waiting for an event. It returns nil if there is a next event
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

// Next returns the next event, and waits until there is one. After an error the position is unchanged.
//
// Errors: a [*TooOldError] if that event has been dropped. A [*TooNewError] if the position is greater than
// the number of the newest event. [ErrClosed] after the journal's Close. ctx's error when ctx ends. DataLoss if the file is damaged.
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

// Poll is like Next, but returns false at once if Next would wait.
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

// fill reads at least one event after the position, and none after p.newest.
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

// readBatch returns events after one number and up to another: at least one, at most a batch.
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

// missing returns why an event is absent: it was dropped, or it is lost.
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
