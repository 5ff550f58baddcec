package queue_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/queue"
)

// chained is the obvious design that the queue is measured against: every item is a goroutine that waits for the channel which the
// goroutine of the item before it closes.
type chained struct {
	mu   sync.Mutex
	last map[string]chan struct{}
}

func (c *chained) Append(key string, item func()) {
	done := make(chan struct{})
	c.mu.Lock()
	before := c.last[key]
	c.last[key] = done
	c.mu.Unlock()
	go func() {
		if before != nil {
			<-before
		}
		item()
		close(done)
		c.mu.Lock()
		if c.last[key] == done {
			delete(c.last, key)
		}
		c.mu.Unlock()
	}()
}

// window is how many items are in flight at most. All of them have been handled before the next window begins, so that every key
// goes idle and comes back in between.
const window = 16384

// keyCounts are the numbers of keys that the benchmarks run with.
var keyCounts = []int{1, 100, 10_000}

// benchKeys returns n keys that look like the ids of containers.
func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%064x", i)
	}
	return keys
}

// benchmarkWindows calls appendItem b.N times, going round the keys.
func benchmarkWindows(b *testing.B, keys []string, handled *sync.WaitGroup, appendItem func(key string)) {
	b.ReportAllocs()
	round := func(n int) {
		handled.Add(n)
		for i := range n {
			appendItem(keys[i%len(keys)])
		}
		handled.Wait()
	}
	round(window)
	b.ResetTimer()
	for n := b.N; n > 0; n -= window {
		round(min(n, window))
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, n := range keyCounts {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			var handled sync.WaitGroup
			q := queue.New(func(string, int) { handled.Done() }, nil)
			benchmarkWindows(b, benchKeys(n), &handled, func(key string) {
				if err := q.Append(key, 1); err != nil {
					b.Error(err)
				}
			})
			closeQueue(b, q)
		})
	}
}

func BenchmarkChained(b *testing.B) {
	for _, n := range keyCounts {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			var handled sync.WaitGroup
			c := &chained{last: make(map[string]chan struct{})}
			benchmarkWindows(b, benchKeys(n), &handled, func(key string) { c.Append(key, handled.Done) })
		})
	}
}

// BenchmarkSpeedup runs both designs in turns, a window each, and reports how many times as long the chained one takes: the median of
// the turns' ratios. Its ns/op is of both together.
func BenchmarkSpeedup(b *testing.B) {
	for _, n := range keyCounts {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			keys := benchKeys(n)
			var handled sync.WaitGroup
			q := queue.New(func(string, int) { handled.Done() }, nil)
			c := &chained{last: make(map[string]chan struct{})}
			turn := func(appendItem func(key string)) float64 {
				begin := time.Now()
				handled.Add(window)
				for i := range window {
					appendItem(keys[i%n])
				}
				handled.Wait()
				return float64(time.Since(begin))
			}
			var ratios []float64
			for b.Loop() {
				slow := turn(func(key string) { c.Append(key, handled.Done) })
				fast := turn(func(key string) {
					if err := q.Append(key, 1); err != nil {
						b.Error(err)
					}
				})
				ratios = append(ratios, slow/fast)
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "times")
			closeQueue(b, q)
		})
	}
}

// The ping-pong benchmarks append an item when the one before it has been handled: every item finds its key idle.

func BenchmarkQueuePingPong(b *testing.B) {
	b.ReportAllocs()
	pong := make(chan struct{})
	q := queue.New(func(string, int) { pong <- struct{}{} }, nil)
	for b.Loop() {
		if err := q.Append("key", 1); err != nil {
			b.Fatal(err)
		}
		<-pong
	}
	closeQueue(b, q)
}

func BenchmarkChainedPingPong(b *testing.B) {
	b.ReportAllocs()
	pong := make(chan struct{})
	c := &chained{last: make(map[string]chan struct{})}
	for b.Loop() {
		c.Append("key", func() { pong <- struct{}{} })
		<-pong
	}
}
