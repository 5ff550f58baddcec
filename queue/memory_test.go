package queue

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// heapInUse returns the bytes of live objects.
func heapInUse() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// useGoroutines runs n goroutines at the same time. Go keeps about 0.5 kB for each of as many as there ever were at a
// time: after this call, another n goroutines add nothing to the heap.
func useGoroutines(n int) {
	var group sync.WaitGroup
	release := make(chan struct{})
	for range n {
		group.Go(func() { <-release })
	}
	close(release)
	group.Wait()
}

// expectEmpty checks that the queue has no line and no large map, once its goroutines have ended.
func expectEmpty[K comparable, V any](t *testing.T, q *Queue[K, V]) {
	t.Helper()
	synctest.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) != 0 || q.peak > smallPeak {
		t.Errorf("idle queue has %d lines, and memory for %d", len(q.lines), q.peak)
	}
}

// 400,000 items, half of them behind handlers that block, the others of 20,000 keys, leave nothing.
func TestMemoryAfterBurst(t *testing.T) {
	const items, keys, blocked = 400_000, 20_000, 100
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		q := New(func(key int, _ [2]int) {
			if key < blocked {
				<-release
			}
		}, nil)
		useGoroutines(keys)
		before := heapInUse()
		for i := range items {
			key := i % keys
			if i%2 == 0 {
				key = i / 2 % blocked
			}
			if err := q.Append(key, [2]int{key, i}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if burst := heapInUse() - before; burst < items/2*16 {
			t.Errorf("burst takes %d bytes, so there was none", burst)
		}
		close(release)
		if err := q.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		expectEmpty(t, q)
		if after := heapInUse() - before; after > 200_000 {
			t.Errorf("%d bytes are kept", after)
		}
		runtime.KeepAlive(q)
	})
}

// One key that stays stuck doesn't keep the memory that others needed.
func TestMemoryBesideStuckKey(t *testing.T) {
	const keys = 3000
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := make(chan struct{})
		q := New(func(_ int, unblock chan struct{}) { <-unblock }, nil)
		for key := range keys {
			unblock := release
			if key == 0 {
				unblock = stuck
			}
			if err := q.Append(key, unblock); err != nil {
				t.Fatal(err)
			}
		}
		close(release)
		synctest.Wait()
		q.mu.Lock()
		if len(q.lines) != 1 || q.peak > smallPeak {
			t.Errorf("%d lines, and memory for %d", len(q.lines), q.peak)
		}
		q.mu.Unlock()
		close(stuck)
		expectEmpty(t, q)
	})
}

// Waiting again and again, and giving up, leaves nothing behind a key that is stuck.
func TestMemoryOfWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unblock := make(chan struct{})
		q := New(func(key int, _ int) {
			if key == 0 {
				<-unblock
			}
		}, nil)
		if err := q.Append(0, 0); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if err := q.Append(1, 0); err != nil {
				t.Fatal(err)
			}
			ended, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := q.Drain(ended); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if err := q.DrainKey(ended, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		q.mu.Lock()
		if n := len(q.lines[0].waits); n != 1 {
			t.Errorf("%d waits are kept", n)
		}
		q.mu.Unlock()
		close(unblock)
		expectEmpty(t, q)
	})
}
