package store

import (
	"context"
	"sync"
)

// deliveryHold keeps events from subscribers. Events are released in any order. A subscriber reads them in the order of
// their numbers, so it waits at the first one that is held.
type deliveryHold struct {
	mu   sync.Mutex
	held map[uint64]int // how often: the number of a failed Update is given to another event
	wake chan struct{}  // closed and replaced at each release
}

func newDeliveryHold() *deliveryHold {
	return &deliveryHold{held: map[uint64]int{}, wake: make(chan struct{})}
}

// hold is called before the event with this number is on disk.
func (h *deliveryHold) hold(seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[seq]++
}

func (h *deliveryHold) release(seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[seq]--; h.held[seq] <= 0 {
		delete(h.held, seq)
	}
	close(h.wake)
	h.wake = make(chan struct{})
}

func (h *deliveryHold) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

func (h *deliveryHold) await(ctx context.Context, seq uint64) error {
	for {
		h.mu.Lock()
		held := h.held[seq] > 0
		wake := h.wake
		h.mu.Unlock()
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
