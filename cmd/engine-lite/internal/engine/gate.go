package engine

import (
	"context"
	"sync"
)

// gate keeps events from subscribers until what must come before them is done:
// a die event waits for the container's last output to be in its log. Numbers
// are released in any order; subscribers pass in the order of the numbers.
type gate struct {
	mu   sync.Mutex
	held map[uint64]int // how often: the number of a commit that failed is given again
	wake chan struct{}  // closed and replaced at each release
}

func newGate() *gate {
	return &gate{held: map[uint64]int{}, wake: make(chan struct{})}
}

// hold stops subscribers in front of the event with this number. It is called
// before the event is committed.
func (g *gate) hold(seq uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[seq]++
}

func (g *gate) release(seq uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held[seq]--; g.held[seq] <= 0 {
		delete(g.held, seq)
	}
	close(g.wake)
	g.wake = make(chan struct{})
}

// pass waits until the event with this number may be delivered.
func (g *gate) pass(ctx context.Context, seq uint64) error {
	for {
		g.mu.Lock()
		held := g.held[seq] > 0
		wake := g.wake
		g.mu.Unlock()
		if !held {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
