// Package queue runs work in order per key.
//
// Items that are appended with equal keys are handled one after the other, in the order in which they were appended; items
// with different keys are handled independently of each other, so a key whose handler is stuck delays no other key:
//
//	              inbox (in order of arrival)     lines            ready        workers
//	Append(k, v) ──> c5 b8 a3 c4 b7 a2 a1 ──> a: a1 a2 a3 ──> ... c b a ──> handle(a, a1), handle(a, a2), ...
//	                                          b: b7 b8                 └──> handle(b, b7), handle(b, b8), ...
//	                                          c: c4 c5                 └──> ...
//
// Append puts an item into the inbox and does no more. Workers move the items into the lines of their keys, and take lines that nobody has
// from the ready list. A line exists only while its key has items: an idle key has no goroutine, no table entry and no memory. A
// worker belongs to no key. There are as many workers as handlers are busy or blocked, plus at most a few that look for work, and
// the rule that keeps keys independent is:
//
//	while the inbox or the ready list holds anything, at least one worker is on its way there:
//	not inside a handler, and running or runnable as far as Go's scheduler is concerned
//
// So a cheap handler's worker goes from key to key without any goroutine being started or woken, and a handler that blocks gives
// way at once, because the worker that follows it is runnable already.
package queue

import (
	"fmt"
	"hash/maphash"
	"log"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
)

// Queue handles items of type V in order per key of type K. Create one with [New]; all methods may be called by any number of
// goroutines at the same time, from inside a handler too, except where they say otherwise.
//
// What happened before an Append is visible to its handler, and what a handler did is visible to the next handler of the same
// key and to whoever's Drain, DrainKey or Close returned nil because of it.
//
// Workers are goroutines that Append starts. One ends when it found no work for between one and two tenths of a second, and all
// of them have ended when Close returns nil. A Queue that is quiet for that long has no goroutine and no timer, and keeps no memory of
// what it did: it may be dropped without Close.
type Queue[K comparable, V any] struct {
	handle  func(K, V)
	onPanic func(key K, item V, recovered any, stack []byte)
	seed    maphash.Seed

	// searching counts the workers that are on their way to the inbox and the ready list. It goes up without mu, before a worker
	// waits for mu, and goes down under mu only: if it is seen above zero under mu, somebody will look there after us.
	searching atomic.Int32

	mu      sync.Mutex  // guards everything below; never held while a handler or a reporter runs
	inbox   chain[K, V] // items that are in no line yet
	lines   table[K, V]
	ready   readyList[K, V]
	current *epoch   // counts the items that are being appended now
	sealed  []*epoch // of earlier Drain calls, the oldest first; not yet done
	workers int      // goroutines, idle ones included
	idle    []*worker[K, V]
	closed  bool

	appended, sorted uint64        // how many items ever went into the inbox and out of it
	stopped          chan struct{} // closed when the queue is closed, empty and without workers
	cache            cache[K, V]
}

// New returns an empty queue whose items are given to handle, on a goroutine of the queue. The handler may block for as long as
// it likes, and may call Append.
//
// A handler that panics, or ends its goroutine by [runtime.Goexit], has handled its item: the next item of the key follows as
// usual. The failure is reported by calling onPanic with the key, the item, the recovered value ([ErrGoexit] for Goexit) and the
// stack of the handler. The key's next item waits until onPanic has returned. If onPanic is nil, or panics itself, the failure is
// written to the standard logger of package log.
func New[K comparable, V any](handle func(K, V), onPanic func(key K, item V, recovered any, stack []byte)) *Queue[K, V] {
	return &Queue[K, V]{
		handle:  handle,
		onPanic: onPanic,
		seed:    maphash.MakeSeed(),
		current: &epoch{},
		stopped: make(chan struct{}),
	}
}

// Append puts item behind all items of the same key. It takes constant time (amortised, where memory is allocated), never waits for
// a handler, and does not limit how many items wait: that is the caller's decision.
//
// The error is of class FailedPrecondition once Close was called, and InvalidArgument for a key that is not equal to itself
// (NaN): no item could ever follow it. Like a map, it panics for an interface key whose dynamic type can't be compared.
func (q *Queue[K, V]) Append(key K, item V) error {
	if self := key; self != key { // compared before mu is taken, because this panics if the key can't be compared
		return fmt.Errorf("cannot queue for key %v, which is not equal to itself: %w", key, errdefs.ErrInvalidArgument)
	}
	hash := maphash.Comparable(q.seed, key)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return fmt.Errorf("cannot queue for key %v: queue is closed: %w", key, errdefs.ErrFailedPrecondition)
	}
	n := q.cache.node()
	n.epoch, n.hash, n.key, n.item = q.current, hash, key, item
	q.current.outstanding++
	q.inbox.push(n)
	q.appended++
	w := q.summonLocked()
	q.mu.Unlock()
	w.start()
	return nil
}

// sortLocked moves some items from the inbox into their lines, and new lines into the ready list.
func (q *Queue[K, V]) sortLocked() {
	for range sorted {
		if q.inbox.head == nil {
			return
		}
		n := q.inbox.shift()
		q.sorted++
		l := q.lines.find(n.key, n.hash)
		if l == nil {
			l = q.cache.line()
			l.key, l.hash = n.key, n.hash
			q.lines.add(l)
			q.cache.peakKeys = max(q.cache.peakKeys, q.lines.keys)
			q.ready.push(l)
		}
		l.push(n)
	}
}

// report tells of a handler that did not return. It doesn't panic, whatever onPanic does.
func (q *Queue[K, V]) report(key K, item V, recovered any) {
	stack := debug.Stack()
	if q.onPanic == nil {
		log.Printf("queue: handler for key %v failed: %v\n%s", key, recovered, stack)
		return
	}
	defer func() {
		if r := recover(); r != nil {
			log.Printf("queue: handler for key %v failed: %v\n%s\nand so did its reporter: %v", key, recovered, stack, r)
		}
	}()
	q.onPanic(key, item, recovered, stack)
}
