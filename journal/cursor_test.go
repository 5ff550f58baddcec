package journal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
)

// expect reads the events up to a number and checks that none is missing, repeated or wrong.
func expect(t *testing.T, c *Cursor, last uint64) {
	t.Helper()
	for c.Position() < last {
		want := c.Position() + 1
		e, err := c.Next(t.Context())
		if err != nil || e.Seq != want || e.Action != fmt.Sprint(want) || c.Position() != want {
			t.Errorf("event %d: got %+v, %v", want, e, err)
			return
		}
	}
}

func TestAThousandCursorsFollow(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	appendEvents(t, j, 100)
	const last = 130
	var readers sync.WaitGroup
	slow := j.Cursor(0)
	expect(t, slow, 1)
	for i := range 1000 {
		readers.Go(func() { expect(t, j.Cursor(uint64(60+i%41)), last) })
	}
	appendEvents(t, j, last-100)
	readers.Wait()
	expect(t, slow, last)
}

func TestACursorResumesAnywhere(t *testing.T) {
	path := newPath(t)
	j := open(t, path, unbounded)
	appendEvents(t, j, 500)
	position := uint64(0)
	for position < 500 {
		if rand.IntN(4) == 0 {
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			j = open(t, path, unbounded)
		}
		c := j.Cursor(position)
		expect(t, c, min(500, position+uint64(rand.IntN(80))))
		position = c.Position()
	}
	if _, ok, err := j.Cursor(500).Poll(); ok || err != nil {
		t.Errorf("behind the newest event: %v, %v", ok, err)
	}
}

func TestACursorHoldsLittle(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	commit(t, j, func(tx *Tx) {
		for range 1000 {
			tx.Append(Event{Action: "x"})
		}
		for range 10 {
			tx.Append(Event{Action: string(make([]byte, 20<<10))})
		}
	})
	c := j.Cursor(0)
	for range 1010 {
		e, ok, err := c.Poll()
		if !ok || err != nil || e.Seq != c.Position() {
			t.Fatalf("event %d, %v, %v", e.Seq, ok, err)
		}
		if len(c.batch) >= batchEvents || e.Seq > 1001 && len(c.batch) >= 2 {
			t.Fatalf("it holds %d events at %d", len(c.batch), e.Seq)
		}
	}
	if c.batch != nil {
		t.Error("it holds an empty batch")
	}
}

func TestAWaitingCursorIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, newPath(t), unbounded)
		type result struct {
			Event
			error
		}
		next := func(ctx context.Context, after uint64) chan result {
			got := make(chan result, 1)
			go func() {
				e, err := j.Cursor(after).Next(ctx)
				got <- result{e, err}
			}()
			synctest.Wait()
			if len(got) > 0 {
				t.Fatalf("it did not wait: %v", <-got)
			}
			return got
		}

		first := next(t.Context(), 0)
		appendEvents(t, j, 1)
		if r := <-first; r.error != nil || r.Seq != 1 {
			t.Errorf("got %+v", r)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		second := next(ctx, 1)
		commit(t, j, func(tx *Tx) { tx.Put("n", "a commit without an event", nil) })
		if r := <-second; !errors.Is(r.error, context.DeadlineExceeded) {
			t.Errorf("got %+v", r)
		}
		if _, err := j.Cursor(0).Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("there is an event, but the context has ended: %v", err)
		}
		third := next(context.Background(), 1)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if r := <-third; !errors.Is(r.error, ErrClosed) {
			t.Errorf("got %+v", r)
		}
	})
}

func TestACursorOfAnotherJournalIsTold(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	appendEvents(t, j, 2)
	_, err := j.Cursor(4).Next(t.Context())
	var tooNew *TooNewError
	if !errors.As(err, &tooNew) || *tooNew != (TooNewError{After: 4, Newest: 2}) ||
		!errdefs.IsOutOfRange(err) || err.Error() == "" {
		t.Errorf("got %v", err)
	}
}

func TestASnapshotAndACursorFit(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 300 {
			commit(t, j, func(tx *Tx) { tx.Put("n", fmt.Sprint(i), nil); appendNumbered(tx) })
		}
	})
	for done := false; !done; {
		var newest uint64
		n := 0
		err := j.View(func(s *Snapshot) error {
			newest = s.Newest()
			return s.ForEach("n", func(string, []byte) error { n++; return nil })
		})
		if err != nil || uint64(n) != newest {
			t.Fatalf("%d records at event %d: %v", n, newest, err)
		}
		if _, _, err := j.Cursor(newest).Poll(); err != nil {
			t.Fatal(err)
		}
		done = n == 300
	}
	writer.Wait()
}

func TestCursorSince(t *testing.T) {
	j := open(t, newPath(t), unbounded)
	at := func(second int64) time.Time { return time.Unix(1_700_000_000+second, 0) }
	if c, err := j.CursorSince(at(0)); err != nil || c.Position() != 0 {
		t.Fatalf("empty journal: %v, %v", c, err)
	}
	// The clock is set back after the third event, and the sixth becomes known late.
	seconds := []int64{10, 20, 30, 15, 25, 5, 40, 40, 41}
	commit(t, j, func(tx *Tx) {
		for _, s := range seconds {
			tx.Append(Event{Time: at(s)})
		}
	})
	for since := int64(0); since < 50; since++ {
		want := uint64(len(seconds))
		for i, s := range seconds {
			if s >= since {
				want = uint64(i)
				break
			}
		}
		if c, err := j.CursorSince(at(since)); err != nil || c.Position() != want {
			t.Errorf("since %d: position %d instead of %d, %v", since, c.Position(), want, err)
		}
	}
	for when, want := range map[time.Time]uint64{{}: 0, farFuture: 9} {
		if c, err := j.CursorSince(when); err != nil || c.Position() != want {
			t.Errorf("since %v: %d, %v", when, c.Position(), err)
		}
	}
}
