package libcontainerd

import (
	"context"
	"time"
)

// backoff is the delay between two tries: it doubles up to a bound.
type backoff struct{ delay, longest time.Duration }

func newBackoff(o options) *backoff {
	return &backoff{delay: o.backoffMin, longest: o.backoffMax}
}

func (b *backoff) next() time.Duration {
	d := b.delay
	b.delay = min(2*d, b.longest)
	return d
}

// sleep waits for the next delay; false when ctx ended first.
func (b *backoff) sleep(ctx context.Context) bool { return !endsWithin(ctx, b.next()) }

// endsWithin waits for the end of ctx; false when d was over before.
func endsWithin(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-t.C:
		return false
	}
}
