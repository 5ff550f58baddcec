// Package await waits for a result within a context.
package await

import "context"

// Closed waits until done is closed or ctx ends. A closed done counts also where ctx has ended too: a plain select
// would choose one of the two at random, and tell a caller that there is no result although there is one. The error is
// the cause of ctx.
func Closed(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	default:
		return context.Cause(ctx)
	}
}
