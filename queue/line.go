package queue

import (
	"errors"
	"log"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
)

// ErrGoexit is the recovered value that a queue reports for a handler that ended its goroutine by [runtime.Goexit].
var ErrGoexit = errors.New("handler called runtime.Goexit")

const (
	// turn is how many items a goroutine handles before it lets others run. Otherwise a key with many items, each of
	// which takes little time, would keep a processor for the 10 ms that Go's scheduler allows.
	turn = 128
	// smallPeak is how many keys the map of lines may have had without being replaced by a smaller one.
	smallPeak = 1024
)

// A line is a key that has items. Its queue's mu guards it.
type line[V any] struct {
	items    []V    // not yet taken by the goroutine of the key, the oldest first
	appended uint64 // how many items the line has had
	handled  uint64 // how many of these have been handled
	waits    []wait // in the order of until
}

// A wait ends when its line has handled the given number of items.
type wait struct {
	until uint64
	done  chan struct{}
}

func (l *line[V]) push(item V) {
	l.items = append(l.items, item)
	l.appended++
}

// pop returns the oldest item of a line that has one.
func (l *line[V]) pop() V {
	var none V
	item := l.items[0]
	l.items[0] = none
	l.items = l.items[1:]
	return item
}

// wait returns a channel that is closed when all items so far have been handled. Without an item in between it is the
// same channel again, so that many waits for a key that is stuck take no more memory than one.
func (l *line[V]) wait() <-chan struct{} {
	last := len(l.waits) - 1
	if last < 0 || l.waits[last].until < l.appended {
		l.waits = append(l.waits, wait{until: l.appended, done: make(chan struct{})})
		last++
	}
	return l.waits[last].done
}

// finish counts one more item as handled.
func (l *line[V]) finish() {
	l.handled++
	for len(l.waits) > 0 && l.waits[0].until == l.handled {
		close(l.waits[0].done)
		l.waits = slices.Delete(l.waits, 0, 1)
	}
}

// work handles item and then those of the line, until it has none. It is the goroutine of the key. If a handler ends
// the goroutine, another one goes on.
func (q *Queue[K, V]) work(key K, l *line[V], item V) {
	more := true
	defer func() {
		if !more {
			return
		}
		if item, more = q.next(key, l); more {
			go q.work(key, l, item)
		}
	}()
	for n := 1; more; n++ {
		q.call(key, item)
		item, more = q.next(key, l)
		if n%turn == 0 {
			runtime.Gosched()
		}
	}
}

// next counts the item that the key's goroutine had as handled, and returns the next one. Without a next one it removes
// the line, and the goroutine has to end.
func (q *Queue[K, V]) next(key K, l *line[V]) (item V, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.finish()
	if len(l.items) > 0 {
		return l.pop(), true
	}
	delete(q.lines, key)
	if q.peak > smallPeak && len(q.lines) <= q.peak/8 {
		q.lines, q.peak = maps.Collect(maps.All(q.lines)), len(q.lines)
	}
	if q.closed && len(q.lines) == 0 {
		close(q.ended)
	}
	return item, false
}

// call gives item to the handler, and reports a handler that does not return.
func (q *Queue[K, V]) call(key K, item V) {
	returned := false
	defer func() {
		if returned {
			return
		}
		recovered := recover()
		if recovered == nil {
			recovered = ErrGoexit
		}
		q.report(key, item, recovered)
	}()
	q.handle(key, item)
	returned = true
}

// report calls onPanic. It does not panic, even if onPanic does.
func (q *Queue[K, V]) report(key K, item V, recovered any) {
	stack := debug.Stack()
	if q.onPanic == nil {
		log.Printf("queue: handler for key %v failed: %v\n%s", key, recovered, stack)
		return
	}
	defer func() {
		if r := recover(); r != nil {
			const message = "queue: handler for key %v failed: %v\n%s\nand so did its reporter: %v"
			log.Printf(message, key, recovered, stack, r)
		}
	}()
	q.onPanic(key, item, recovered, stack)
}
