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
func (b *backoff) sleep(ctx context.Context) bool {
	t := time.NewTimer(b.next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
