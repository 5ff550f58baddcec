package queue

import (
	"errors"
	"runtime"
)

// ErrGoexit is what a queue reports as the recovered value when a handler ended its goroutine by [runtime.Goexit].
var ErrGoexit = errors.New("handler called runtime.Goexit")

const (
	// sorted is how many items are moved from the inbox into lines at a time, with mu held all the while. If it is small, a
	// line has one item only when its worker comes, and if it is large, the processor's cache doesn't hold the lines. More than
	// a turn, so that a line with a long backlog doesn't keep others in the inbox.
	sorted = 256
	// turn is how many items of one key a worker handles before it lets the other keys that are ready go first.
	turn = 128
)

// A worker is a goroutine that takes lines from the ready list and handles their items. Its fields belong to its goroutine,
// except while it is idle, when they belong to the queue.
type worker[K comparable, V any] struct {
	queue   *Queue[K, V]
	wake    chan bool // capacity 1; true: there may be work, false: end
	running bool      // its goroutine was started
	counted bool      // searching was raised on its behalf

	line  *line[K, V] // nil, or the line whose items it handles
	rest  chain[K, V] // items of the line that it took and did not handle yet
	spent chain[K, V] // handled and emptied nodes, to be recycled
	count int         // of nodes in spent
	epoch *epoch      // of the items that are handled but not yet counted as such
	done  int         // how many those are
	item  V           // being handled
}

// summonLocked returns a worker for the caller to start once it has unlocked, or nil if none is needed.
func (q *Queue[K, V]) summonLocked() *worker[K, V] {
	if q.ready.head == nil && q.inbox.head == nil || q.searching.Load() > 0 {
		return nil
	}
	q.searching.Add(1)
	w := q.popIdleLocked()
	if w == nil {
		q.workers++
		w = &worker[K, V]{queue: q, wake: make(chan bool, 1)}
	}
	w.counted = true
	return w
}

// start wakes an idle worker or starts the goroutine of a new one; nil is allowed. The goroutine ends when it is told to while it
// is idle, or when it finds no work after Close.
func (w *worker[K, V]) start() {
	switch {
	case w == nil:
	case w.running:
		w.wake <- true
	default:
		w.running = true
		go w.work()
	}
}

// work handles what the worker has, then takes more, until there is no more. A handler may end the goroutine under it: another one then goes
// on from the same place.
func (w *worker[K, V]) work() {
	ended := false
	defer func() {
		if !ended {
			go w.work()
		}
	}()
	for {
		w.run()
		if !w.take() {
			break
		}
	}
	ended = true
}

// run handles items that the worker has taken: all of its turn, or up to one whose handler fails.
func (w *worker[K, V]) run() {
	returned := false
	defer func() {
		if returned {
			return
		}
		recovered := recover()
		if recovered == nil {
			recovered = ErrGoexit
		}
		var none V
		item := w.item
		w.item = none
		w.queue.report(w.line.key, item, recovered)
	}()
	w.handleTurn()
	returned = true
}

// handleTurn handles items until there is none or the worker's turn with this key is over. A node is off the list before its
// item is handled, and the item is held by nothing but the worker, so it doesn't matter where a panic ends this.
func (w *worker[K, V]) handleTurn() {
	var none V
	for w.rest.head != nil && w.count < turn {
		n := w.rest.shift()
		epoch := n.epoch
		w.item = n.item
		*n = node[K, V]{}
		w.spent.push(n)
		w.count++
		if epoch.barrier {
			close(epoch.done)
			continue
		}
		if epoch != w.epoch {
			w.enter(epoch)
		}
		w.done++
		w.queue.handle(w.line.key, w.item)
		w.item = none
	}
}

// enter makes epoch the one whose items are counted, and settles what is counted for the one before.
func (w *worker[K, V]) enter(e *epoch) {
	if w.done > 0 {
		w.queue.mu.Lock()
		w.queue.finishLocked(w.epoch, w.done)
		w.queue.mu.Unlock()
	}
	w.epoch, w.done = e, 0
}

// take gives back what the worker has and waits for the next line. It reports false if the worker is to end.
//
// A worker that finds nothing lets other goroutines run and looks again before it parks, which spares the appender of a steady
// stream the waking of a worker that is about as fast as itself.
func (w *worker[K, V]) take() bool {
	q := w.queue
	if !w.counted {
		q.searching.Add(1)
	}
	q.mu.Lock()
	w.settleLocked()
	for yielded := false; !q.findReadyLocked(); yielded = !yielded {
		if !yielded {
			q.mu.Unlock()
			runtime.Gosched()
			q.mu.Lock()
		} else if !w.parkLocked() {
			return false
		}
	}
	w.counted = false
	w.line = q.ready.pop()
	w.rest = w.line.chain
	w.line.chain = chain[K, V]{}
	q.searching.Add(-1)
	next := q.summonLocked()
	q.mu.Unlock()
	next.start()
	return true
}

// findReadyLocked fills the ready list from the inbox if need be. It reports false if there is nothing to do. A long inbox may be for
// keys that are stuck: it unlocks now and then, so that appenders and other workers get their turns.
func (q *Queue[K, V]) findReadyLocked() bool {
	for q.ready.head == nil && q.inbox.head != nil {
		q.sortLocked()
		if q.ready.head == nil {
			q.mu.Unlock()
			q.mu.Lock()
		}
	}
	return q.ready.head != nil
}

// parkLocked waits until the worker is woken, with mu unlocked meanwhile. If it reports false, the worker is to end and mu is not
// locked.
func (w *worker[K, V]) parkLocked() bool {
	q := w.queue
	q.searching.Add(-1)
	w.counted = false
	if !q.closed {
		q.idle = append(q.idle, w)
		q.tidyLaterLocked()
		q.mu.Unlock()
		woken := <-w.wake
		q.mu.Lock()
		if woken {
			return true
		}
	}
	q.workers--
	q.stopLocked()
	q.mu.Unlock()
	return false
}

// settleLocked tells the queue which items were handled, gives back the line, to the ready list if it has more, and the nodes.
func (w *worker[K, V]) settleLocked() {
	if w.line == nil {
		return
	}
	q := w.queue
	if w.done > 0 {
		q.finishLocked(w.epoch, w.done)
	}
	if w.rest.head != nil {
		w.line.prepend(w.rest)
	}
	if w.line.head != nil {
		q.sortLocked() // keys that came meanwhile go first
		q.ready.push(w.line)
	} else {
		q.lines.remove(w.line)
		q.cache.putLine(w.line)
	}
	q.cache.putNodes(w.spent, w.count)
	q.tidyLaterLocked()
	w.line, w.rest, w.spent, w.count, w.epoch, w.done = nil, chain[K, V]{}, chain[K, V]{}, 0, nil, 0
}
