package queue_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/engine-lite/engine-lite/queue"
)

// window is how many items are in flight at most. All of them have been handled before the next window begins, so that
// every key goes idle and comes back in between.
const window = 16384

// benchKeys returns n keys that look like the ids of containers.
func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%064x", i)
	}
	return keys
}

// BenchmarkQueue appends b.N items, going round the keys, by one and by eight producers.
func BenchmarkQueue(b *testing.B) {
	for _, producers := range []int{1, 8} {
		for _, n := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprintf("producers=%d/keys=%d", producers, n), func(b *testing.B) {
				b.ReportAllocs()
				benchmarkWindows(b, producers, benchKeys(n))
			})
		}
	}
}

func benchmarkWindows(b *testing.B, producers int, keys []string) {
	var handled sync.WaitGroup
	q := queue.New(func(string, int) { handled.Done() }, nil)
	round := func(n int) {
		handled.Add(n)
		var group sync.WaitGroup
		for first := range producers {
			group.Go(func() {
				for i := first; i < n; i += producers {
					mustAppend(b, q, keys[i%len(keys)], 1)
				}
			})
		}
		group.Wait()
		handled.Wait()
	}
	round(window)
	b.ResetTimer()
	for n := b.N; n > 0; n -= window {
		round(min(n, window))
	}
	closeQueue(b, q)
}

// BenchmarkPingPong appends an item when the one before it has been handled: every item finds its key idle.
func BenchmarkPingPong(b *testing.B) {
	b.ReportAllocs()
	pong := make(chan struct{})
	q := queue.New(func(string, int) { pong <- struct{}{} }, nil)
	for b.Loop() {
		mustAppend(b, q, "key", 1)
		<-pong
	}
	closeQueue(b, q)
}
