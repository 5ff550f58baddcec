package retry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestBackoff takes delays: they double up to the bound, and begin again after a reset.
func TestBackoff(t *testing.T) {
	t.Parallel()
	b := New(100*time.Millisecond, time.Second)
	take := func(n int) (delays []time.Duration) {
		for range n {
			delays = append(delays, b.Next()/time.Millisecond)
		}
		return delays
	}
	if got, want := take(6), []time.Duration{100, 200, 400, 800, 1000, 1000}; !slices.Equal(got, want) {
		t.Errorf("delays in ms: %d, want %d", got, want)
	}
	b.Reset()
	if got, want := take(2), []time.Duration{100, 200}; !slices.Equal(got, want) {
		t.Errorf("delays in ms after a reset: %d, want %d", got, want)
	}
}

// TestFirst asks before and after a delay, also where all delays are the same.
func TestFirst(t *testing.T) {
	t.Parallel()
	b := New(time.Second, time.Second)
	for range 2 {
		if !b.First() {
			t.Error("no delay was taken, and the next one is not the first")
		}
		b.Next()
		if b.First() {
			t.Error("a delay was taken, and the next one is the first")
		}
		b.Reset()
	}
}

// TestResetAfter takes delays of something that works for a time, and fails.
func TestResetAfter(t *testing.T) {
	t.Parallel()
	const enough = 10 * time.Second
	b := New(time.Second, 5*time.Second)
	for i, tt := range []struct{ worked, want time.Duration }{
		{time.Hour, time.Second}, {0, 2 * time.Second}, {enough - 1, 4 * time.Second},
		{0, 5 * time.Second}, {0, 5 * time.Second},
		{enough, time.Second}, {0, 2 * time.Second},
	} {
		b.ResetAfter(tt.worked, enough)
		if got := b.Next(); got != tt.want {
			t.Errorf("%d: the delay is %v, want %v", i, got, tt.want)
		}
	}
}

// TestWait waits in virtual time.
func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, begun := New(time.Second, time.Minute), time.Now()
		for range 3 {
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(begun); waited != 7*time.Second {
			t.Errorf("three delays took %v", waited)
		}
	})
}

// TestSleepEnds ends a context while somebody sleeps: the cause is the result, and no time passes after it.
func TestSleepEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		reason, begun := errors.New("enough"), time.Now()
		time.AfterFunc(time.Second, func() { cancel(reason) })
		if err := Sleep(ctx, time.Hour); !errors.Is(err, reason) {
			t.Errorf("the sleep ended with %v", err)
		}
		if slept := time.Since(begun); slept != time.Second {
			t.Errorf("the sleep took %v", slept)
		}
	})
}
