package journal

import (
	"slices"
	"sync"
	"sync/atomic"
)

// request is one call of Commit. Either the committer claims it and then finishes it, or its caller withdraws it.
type request struct {
	fn      func(*Tx) error
	decided atomic.Bool   // claimed or withdrawn: the first to set it decides
	done    chan struct{} // closed by finish
	err     error         // the result; written before done is closed
}

func newRequest(fn func(*Tx) error) *request {
	return &request{fn: fn, done: make(chan struct{})}
}

// claim and withdraw return true if they came first.
func (r *request) claim() bool    { return r.decided.CompareAndSwap(false, true) }
func (r *request) withdraw() bool { return r.decided.CompareAndSwap(false, true) }

func (r *request) finish(err error) {
	r.err = err
	close(r.done)
}

// queue holds the requests that the committer has not taken yet. It must be initialised with init.
type queue struct {
	mu      sync.Mutex
	filled  sync.Cond // signalled when the queue is no longer empty, or closed
	waiting []*request
	closed  bool
}

func (q *queue) init() { q.filled.L = &q.mu }

// put appends a request, unless the queue is closed. It never blocks.
func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	q.waiting = append(q.waiting, r)
	q.filled.Signal()
	return nil
}

// take waits for requests, and claims in order all that are not withdrawn. It returns false when the queue is closed
// and empty.
func (q *queue) take() ([]*request, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 {
		if q.closed {
			return nil, false
		}
		q.filled.Wait()
	}
	taken := q.waiting
	q.waiting = nil
	return slices.DeleteFunc(taken, func(r *request) bool { return !r.claim() }), true
}

// close makes put refuse further requests, and take end when no request is left.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Signal()
}
