package queue

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
)

// An epoch counts the items that were appended between two calls of Drain. One with barrier set counts nothing and stands in a
// single line.
type epoch struct {
	outstanding int           // items not yet handled
	waiters     int           // Drain calls that wait for done
	done        chan struct{} // nil in the current epoch; closed when this and all earlier epochs have no items left
	barrier     bool
}

// finishLocked counts n items of e as handled.
func (q *Queue[K, V]) finishLocked(e *epoch, n int) {
	e.outstanding -= n
	for len(q.sealed) > 0 && q.sealed[0].outstanding == 0 {
		close(q.sealed[0].done)
		q.sealed = slices.Delete(q.sealed, 0, 1)
	}
}

// Drain waits until every item that was appended before the call, of any key, has been handled. Items that are appended later
// are not waited for, whether they are handled or stuck. It returns nil, or an error that wraps ctx's cause if ctx ended
// first.
//
// A handler must not call Drain: it would wait for itself until ctx ends.
func (q *Queue[K, V]) Drain(ctx context.Context) error {
	q.mu.Lock()
	e := q.sealLocked()
	if e == nil {
		q.mu.Unlock()
		return nil
	}
	e.waiters++
	q.mu.Unlock()
	var err error
	select {
	case <-e.done:
	case <-ctx.Done():
		err = fmt.Errorf("cannot wait for the queue's items: %w", context.Cause(ctx))
	}
	q.mu.Lock()
	e.waiters--
	q.mu.Unlock()
	return err
}

// sealLocked returns the epoch that is done when all items so far have been handled, or nil if they are.
func (q *Queue[K, V]) sealLocked() *epoch {
	q.sealed = slices.DeleteFunc(q.sealed, func(e *epoch) bool { return e.outstanding == 0 && e.waiters == 0 })
	if e := q.current; e.outstanding > 0 {
		e.done = make(chan struct{})
		q.sealed = append(q.sealed, e)
		q.current = &epoch{}
	}
	if len(q.sealed) == 0 {
		return nil
	}
	return q.sealed[len(q.sealed)-1]
}

// DrainKey waits until every item that was appended with this key before the call has been handled. It returns nil, at once if
// the key is idle, or an error that wraps ctx's cause if ctx ended first. Like
// Append it panics for a key that can't be compared.
//
// A handler must not call DrainKey for the key that it handles: it would wait for itself until ctx ends.
func (q *Queue[K, V]) DrainKey(ctx context.Context, key K) error {
	e := q.barrier(key)
	if e == nil {
		return nil
	}
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for the items of key %v: %w", key, context.Cause(ctx))
	}
}

// barrier returns a barrier behind all items of key, or nil if it has none. Barriers with nothing between them are one, so
// asking again and again about a key that is stuck takes no memory.
func (q *Queue[K, V]) barrier(key K) *epoch {
	hash := maphash.Comparable(q.seed, key)
	q.mu.Lock()
	// What is in the inbox may be for this key. Appenders and workers get their turns in between.
	for before := q.appended; q.sorted < before; {
		q.sortLocked()
		q.mu.Unlock()
		q.mu.Lock()
	}
	defer q.mu.Unlock()
	l := q.lines.find(key, hash)
	if l == nil {
		return nil
	}
	if l.head != nil && l.tail.epoch.barrier {
		return l.tail.epoch
	}
	n := q.cache.node()
	n.epoch = &epoch{barrier: true, done: make(chan struct{})}
	l.push(n)
	return n.epoch
}

// Close makes the queue refuse items from now on, also those that handlers append, and waits until every item that it had
// accepted has been handled and the queue's goroutines have ended. It returns nil, or an error that wraps ctx's if ctx ended
// first: the queue is closed then, the items are still being handled, and Close may be called again to go on waiting.
//
// A handler must not call Close: it would wait for itself until ctx ends.
func (q *Queue[K, V]) Close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	idle := q.idle
	q.idle, q.cache.fewestIdle = nil, 0
	q.cache.stop()
	q.stopLocked()
	q.mu.Unlock()
	end(idle)
	select {
	case <-q.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for the queue to end: %w", context.Cause(ctx))
	}
}

// stopLocked closes stopped when there is nothing left that could do anything: the last to end calls it.
func (q *Queue[K, V]) stopLocked() {
	if !q.closed || q.lines.keys > 0 || q.inbox.head != nil || q.workers > 0 || q.cache.armed {
		return
	}
	select {
	case <-q.stopped:
	default:
		q.lines, q.cache = table[K, V]{}, cache[K, V]{}
		close(q.stopped)
	}
}
