package queue

import (
	"slices"
	"time"
)

const (
	// linger is how often the queue looks for workers and memory that were not needed since it looked last.
	linger = 100 * time.Millisecond
	// spare is how many times more memory than was in use at any time since the last look the queue keeps.
	spare = 4
	// shrinkStep is how many buckets of the table are removed at a time.
	shrinkStep = 8192
)

// cache keeps nodes and lines for later use, and remembers how much of everything was in use lately. It belongs to a queue, whose mu
// guards it.
type cache[K comparable, V any] struct {
	nodes     *node[K, V]
	freeNodes int
	allNodes  int // free or in use
	peakNodes int // the most in use since the last look

	lines     *line[K, V]
	freeLines int
	peakKeys  int // the most keys since the last look

	fewestIdle int // the fewest idle workers since the last look

	timer *time.Timer
	armed bool // the timer runs, or its function does
}

// node returns an empty node.
func (c *cache[K, V]) node() *node[K, V] {
	n := c.nodes
	if n != nil {
		c.nodes = n.next
		n.next = nil
		c.freeNodes--
	} else {
		n = &node[K, V]{}
		c.allNodes++
	}
	c.peakNodes = max(c.peakNodes, c.allNodes-c.freeNodes)
	return n
}

// putNodes takes back count empty nodes.
func (c *cache[K, V]) putNodes(nodes chain[K, V], count int) {
	nodes.tail.next = c.nodes
	c.nodes = nodes.head
	c.freeNodes += count
}

// line returns an empty line.
func (c *cache[K, V]) line() *line[K, V] {
	l := c.lines
	if l == nil {
		return &line[K, V]{}
	}
	c.lines = l.next
	l.next = nil
	c.freeLines--
	return l
}

// putLine takes back a line that has no items.
func (c *cache[K, V]) putLine(l *line[K, V]) {
	*l = line[K, V]{next: c.lines}
	c.lines = l
	c.freeLines++
}

// trim drops what was not needed since the last look, given that the queue has n keys. It takes constant time.
func (c *cache[K, V]) trim(n int) {
	if c.peakNodes*spare <= c.allNodes {
		c.nodes = nil
		c.allNodes -= c.freeNodes
		c.freeNodes = 0
	}
	if c.peakKeys*spare <= n+c.freeLines {
		c.lines = nil
		c.freeLines = 0
	}
	c.peakNodes = c.allNodes - c.freeNodes
	c.peakKeys = n
}

// stop ends the timer, unless its function has begun already.
func (c *cache[K, V]) stop() {
	if c.armed && c.timer.Stop() {
		c.armed = false
	}
}

// popIdleLocked returns the worker that went idle last, or nil.
func (q *Queue[K, V]) popIdleLocked() *worker[K, V] {
	last := len(q.idle) - 1
	if last < 0 {
		return nil
	}
	w := q.idle[last]
	q.idle[last] = nil
	q.idle = q.idle[:last]
	q.cache.fewestIdle = min(q.cache.fewestIdle, last)
	return w
}

// tidyLaterLocked makes tidy run after a while.
func (q *Queue[K, V]) tidyLaterLocked() {
	c := &q.cache
	switch {
	case c.armed || q.closed:
		return
	case c.timer == nil:
		c.timer = time.AfterFunc(linger, q.tidy)
	default:
		c.timer.Reset(linger)
	}
	c.armed = true
}

// tidy ends the workers and drops the memory that were not needed since the last look, and comes again if any are left.
func (q *Queue[K, V]) tidy() {
	q.mu.Lock()
	c := &q.cache
	c.armed = false
	unused := slices.Clone(q.idle[:c.fewestIdle])
	q.idle = slices.Delete(q.idle, 0, c.fewestIdle)
	if len(q.idle) == 0 {
		q.idle = nil
	}
	c.fewestIdle = len(q.idle)
	q.lines.shrink(shrinkStep, spare*c.peakKeys)
	c.trim(q.lines.keys)
	if len(q.idle)+c.freeNodes+c.freeLines > 0 || q.lines.buckets > spare*q.lines.keys {
		q.tidyLaterLocked()
	}
	q.stopLocked()
	q.mu.Unlock()
	end(unused)
}

// end tells workers that are no longer in the queue's list of idle ones to end.
func end[K comparable, V any](idle []*worker[K, V]) {
	for _, w := range idle {
		w.wake <- false
	}
}
