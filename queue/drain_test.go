package queue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/engine-lite/engine-lite/queue"
)

// blockingQueue returns a queue that handles an item by receiving from it, a nil item at once, and counts the handled
// items.
func blockingQueue(t *testing.T) (*queue.Queue[string, chan struct{}], *atomic.Int32) {
	var handled atomic.Int32
	return queue.New(func(_ string, unblock chan struct{}) {
		if unblock != nil {
			<-unblock
		}
		handled.Add(1)
	}, neverFails[string, chan struct{}](t)), &handled
}

// begin calls wait in a goroutine. It returns a function that returns the result of wait, or nil and false while it
// waits.
func begin(wait func() error) func() (error, bool) {
	result := make(chan error, 1)
	go func() { result <- wait() }()
	return func() (error, bool) {
		synctest.Wait()
		select {
		case err := <-result:
			return err, true
		default:
			return nil, false
		}
	}
}

// expectWaiting and expectDone check what begin returned.
func expectWaiting(t *testing.T, what string, result func() (error, bool)) {
	t.Helper()
	if err, done := result(); done {
		t.Errorf("%s returned %v", what, err)
	}
}

func expectDone(t *testing.T, what string, result func() (error, bool), want error) {
	t.Helper()
	if err, done := result(); !done || !errors.Is(err, want) {
		t.Errorf("%s: returned: %t, error: %v, want %v", what, done, err, want)
	}
}

func TestDrainWaitsForWhatWasBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := blockingQueue(t)
		early, late := make(chan struct{}), make(chan struct{})
		mustAppend(t, q, "a", early)
		mustAppend(t, q, "b", nil)
		all := begin(func() error { return q.Drain(t.Context()) })
		keyA := begin(func() error { return q.DrainKey(t.Context(), "a") })
		expectWaiting(t, "Drain", all)
		expectWaiting(t, "DrainKey(a)", keyA)
		expectDone(t, "DrainKey(b)", begin(func() error { return q.DrainKey(t.Context(), "b") }), nil)
		expectDone(t, "DrainKey(c)", begin(func() error { return q.DrainKey(t.Context(), "c") }), nil)

		// What comes later is not waited for, in the same key or in another one.
		mustAppend(t, q, "a", late)
		mustAppend(t, q, "b", late)
		allLater := begin(func() error { return q.Drain(t.Context()) })
		keyALater := begin(func() error { return q.DrainKey(t.Context(), "a") })
		synctest.Wait()
		close(early)
		expectDone(t, "Drain", all, nil)
		expectDone(t, "DrainKey(a)", keyA, nil)
		expectWaiting(t, "later Drain", allLater)
		expectWaiting(t, "later DrainKey", keyALater)
		close(late)
		expectDone(t, "later Drain", allLater, nil)
		expectDone(t, "later DrainKey", keyALater, nil)
		expectDone(t, "Drain of an empty queue", begin(func() error { return q.Drain(t.Context()) }), nil)
		closeQueue(t, q)
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	cause := errors.New("no more patience")
	waits := map[string]func(*queue.Queue[string, chan struct{}], context.Context) error{
		"Drain": (*queue.Queue[string, chan struct{}]).Drain,
		"Close": (*queue.Queue[string, chan struct{}]).Close,
		"DrainKey": func(q *queue.Queue[string, chan struct{}], ctx context.Context) error {
			return q.DrainKey(ctx, "a")
		},
	}
	for name, wait := range waits {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, handled := blockingQueue(t)
				unblock := make(chan struct{})
				mustAppend(t, q, "a", unblock)
				mustAppend(t, q, "a", nil)
				ctx, cancel := context.WithCancelCause(t.Context())
				result := begin(func() error { return wait(q, ctx) })
				expectWaiting(t, name, result)
				cancel(cause)
				expectDone(t, name, result, cause)
				expectDone(t, name, begin(func() error { return wait(q, ctx) }), cause)

				again := begin(func() error { return wait(q, t.Context()) })
				expectWaiting(t, name, again)
				close(unblock)
				expectDone(t, name, again, nil)
				if got := handled.Load(); got != 2 {
					t.Errorf("%d of 2 items handled", got)
				}
				expectDone(t, name, begin(func() error { return wait(q, t.Context()) }), nil)
				closeQueue(t, q)
			})
		})
	}
}

func TestCloseHandlesWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unblock := make(chan struct{})
		var q *queue.Queue[int, int]
		var handled, refused atomic.Int32
		q = queue.New(func(key, _ int) {
			<-unblock
			handled.Add(1)
			if q.Append(key, 0) != nil {
				refused.Add(1)
			}
		}, neverFails[int, int](t))
		for key := range 100 {
			for range 10 {
				mustAppend(t, q, key, 0)
			}
		}
		first := begin(func() error { return q.Close(t.Context()) })
		second := begin(func() error { return q.Close(t.Context()) })
		drain := begin(func() error { return q.Drain(t.Context()) })
		expectWaiting(t, "Close", first)
		expectWaiting(t, "second Close", second)
		expectWaiting(t, "Drain after Close", drain)
		close(unblock)
		expectDone(t, "Close", first, nil)
		expectDone(t, "second Close", second, nil)
		expectDone(t, "Drain after Close", drain, nil)
		if handled.Load() != 1000 || refused.Load() != 1000 {
			t.Errorf("of 1000 items, %d handled and %d followers refused", handled.Load(), refused.Load())
		}
	})
}

func TestCloseOfAnUnusedQueue(t *testing.T) {
	q, _ := blockingQueue(t)
	closeQueue(t, q)
	closeQueue(t, q)
}

// A handler that waits for itself gets an error when its context ends, and the queue goes on.
func TestDrainFromInsideEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q *queue.Queue[string, int]
		var errs []error
		q = queue.New(func(key string, _ int) {
			ctx, cancel := context.WithTimeout(t.Context(), 1)
			defer cancel()
			errs = append(errs, q.Drain(ctx), q.DrainKey(ctx, key))
		}, neverFails[string, int](t))
		mustAppend(t, q, "a", 1)
		if err := q.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		for _, err := range errs {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		}
		closeQueue(t, q)
	})
}
