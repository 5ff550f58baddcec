// Package retry waits between two tries of the same thing.
//
// A Backoff waits longer after each try. Sleep waits for a fixed time. Both end early when a context ends. The loop
// itself stays with its caller: each loop has its own way to know success, failure and a reason to give up.
package retry

import (
	"context"
	"time"
)

// Backoff is the delay between two tries. Each delay is twice the delay before, up to a bound. There is no jitter: all
// users have one server on the same machine.
//
// One goroutine uses a Backoff at a time.
type Backoff struct {
	first, longest time.Duration
	next           time.Duration
	taken          bool // a delay was taken since New or the last Reset
}

// New returns a Backoff whose first delay is first and whose delays are at most longest. Both must be positive.
// Where first is longer than longest, only the first delay after New and after each Reset is that long.
func New(first, longest time.Duration) *Backoff {
	return &Backoff{first: first, longest: longest, next: first}
}

// Next returns the next delay, and makes the one after it longer. It is for callers that wait for more than time and a
// context.
func (b *Backoff) Next() time.Duration {
	delay := b.next
	b.next, b.taken = min(2*delay, b.longest), true
	return delay
}

// First tells whether no delay was taken since New or the last Reset. A caller who logs only the first of several
// failures asks before the delay.
func (b *Backoff) First() bool { return !b.taken }

// Reset makes the next delay the first one again. Callers do so after a success.
func (b *Backoff) Reset() { b.next, b.taken = b.first, false }

// ResetAfter is Reset where the thing worked for a while before it failed: for at least enough.
func (b *Backoff) ResetAfter(worked, enough time.Duration) {
	if worked >= enough {
		b.Reset()
	}
}

// Wait waits for the next delay. It returns nil after that time, or the cause of ctx's end if ctx ends first.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Sleep waits for d. It returns nil after that time, or the cause of ctx's end (context.Cause) if ctx ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
