package queue

import (
	"context"
	"errors"
	"runtime"
	"runtime/metrics"
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

// goroutinesCreated returns how many goroutines the process ever started.
func goroutinesCreated() int {
	sample := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

// expectEmpty checks that the queue keeps nothing of its past.
func expectEmpty[K comparable, V any](t *testing.T, q *Queue[K, V]) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	c := &q.cache
	if c.nodes != nil || c.freeNodes != 0 || c.allNodes != 0 || c.lines != nil || c.freeLines != 0 {
		t.Errorf("quiet queue keeps %d nodes of %d and %d lines", c.freeNodes, c.allNodes, c.freeLines)
	}
	if q.lines.segments != nil || q.ready.head != nil || q.ready.tail != nil || q.inbox.head != nil || q.inbox.tail != nil || q.idle != nil || q.workers != 0 || len(q.sealed) != 0 {
		t.Errorf("quiet queue keeps %d buckets, %d workers of which %d idle, %d epochs", q.lines.buckets, q.workers, len(q.idle), len(q.sealed))
	}
	if c.armed {
		t.Error("quiet queue has a timer")
	}
}

func TestMemoryAfterBurst(t *testing.T) {
	const items, keys, blocked = 1_000_000, 100_000, 100
	synctest.Test(t, func(t *testing.T) {
		before := heapInUse()
		release := make(chan struct{})
		q := New(func(key int, _ [2]int) {
			if key < blocked {
				<-release
			}
		}, nil)
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
		if burst := heapInUse() - before; burst < items/2*32 {
			t.Errorf("burst takes %d bytes, so there was none", burst)
		}
		close(release)
		if err := q.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * linger)
		synctest.Wait()
		expectEmpty(t, q)
		if after := heapInUse() - before; after > 200_000 {
			t.Errorf("%d bytes are kept", after)
		}
		runtime.KeepAlive(q)
	})
}

// One key that stays stuck doesn't keep the memory of what others needed.
func TestMemoryBesideStuckKey(t *testing.T) {
	const keys = 3000
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := make(chan struct{})
		q := New(func(_ int, gate chan struct{}) { <-gate }, nil)
		for key := range keys {
			gate := release
			if key == 0 {
				gate = stuck
			}
			if err := q.Append(key, gate); err != nil {
				t.Fatal(err)
			}
		}
		close(release)
		time.Sleep(10 * linger)
		synctest.Wait()
		q.mu.Lock()
		if q.workers != 1 || q.idle != nil || q.cache.freeNodes != 0 || q.cache.freeLines != 0 || q.lines.buckets > spare || q.cache.armed {
			t.Errorf("%d workers, %d idle, %d free nodes, %d free lines, %d buckets, timer: %t",
				q.workers, len(q.idle), q.cache.freeNodes, q.cache.freeLines, q.lines.buckets, q.cache.armed)
		}
		q.mu.Unlock()
		close(stuck)
		time.Sleep(10 * linger)
		synctest.Wait()
		expectEmpty(t, q)
	})
}

// Close may come at the moment at which idle workers are let go of.
func TestCloseWhileTidying(t *testing.T) {
	for i := range 500 {
		synctest.Test(t, func(t *testing.T) {
			q := New(func(int, int) {}, nil)
			if err := q.Append(1, 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i%3) * linger)
			if err := q.Close(t.Context()); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			expectEmpty(t, q)
		})
	}
}

// Waiting again and again, and giving up, leaves nothing behind a key that is stuck.
func TestMemoryOfWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		q := New(func(key int, _ int) {
			if key == 0 {
				<-gate
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
		if len(q.sealed) > 3 || q.cache.allNodes-q.cache.freeNodes > 4 {
			t.Errorf("%d epochs, %d nodes", len(q.sealed), q.cache.allNodes-q.cache.freeNodes)
		}
		q.mu.Unlock()
		close(gate)
		time.Sleep(10 * linger)
		synctest.Wait()
		expectEmpty(t, q)
	})
}

// In the steady state nothing is allocated and no goroutine is started, however many keys there are: all windows together need
// no more than what is in flight in one. (In a bubble no time passes, so nothing is given back in between.)
func TestSteadyStateIsFree(t *testing.T) {
	const windows, items = 8, 20_000
	for _, keys := range []int{1, 100, 10_000} {
		synctest.Test(t, func(t *testing.T) {
			q := New(func(int, int) {}, nil)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			created := goroutinesCreated()
			for range windows {
				for i := range items {
					if err := q.Append(i%keys, i); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
			}
			created = goroutinesCreated() - created
			runtime.ReadMemStats(&after)
			if allocs := after.Mallocs - before.Mallocs; allocs > items+uint64(keys)+2000 || created > 100 {
				t.Errorf("%d keys: %d allocations and %d goroutines for %d items", keys, allocs, created, windows*items)
			}
			if err := q.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// An item that finds its key idle takes a worker that is there, not a new one.
func TestPingPongStartsNoGoroutine(t *testing.T) {
	const items = 10_000
	synctest.Test(t, func(t *testing.T) {
		pong := make(chan struct{})
		q := New(func(int, int) { pong <- struct{}{} }, nil)
		created := goroutinesCreated()
		for i := range items {
			if err := q.Append(0, i); err != nil {
				t.Fatal(err)
			}
			<-pong
		}
		if created = goroutinesCreated() - created; created > 10 {
			t.Errorf("%d goroutines started for %d items", created, items)
		}
		if err := q.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
