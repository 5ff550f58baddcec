package libcontainerd

import (
	"context"
	"time"

	"github.com/engine-lite/engine-lite/internal/retry"
)

// newBackoff returns the delays between two tries that the options ask for.
func newBackoff(o options) *retry.Backoff { return retry.New(o.backoffMin, o.backoffMax) }

// endsWithin waits for the end of ctx; false when d was over before.
func endsWithin(ctx context.Context, d time.Duration) bool { return retry.Sleep(ctx, d) != nil }
