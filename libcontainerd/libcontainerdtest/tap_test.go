package libcontainerdtest

import (
	"context"
	"fmt"
	"hash/fnv"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs fn in virtual time, with a client and the daemon in memory. prepare, if not
// nil, gets the Tap between them before the client is made.
func bubble(t *testing.T, prepare func(tap *Tap), fn func(e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := NewHarness(t)
		tap := &Tap{Daemon: h.Daemon}
		if prepare != nil {
			prepare(tap)
		}
		h.Daemon = tap
		fn(newEnv(t, h))
	})
}

// jitter delays each call of a daemon, and each answer, by up to longest. The same seed
// gives each call the same delays.
type jitter struct {
	seed    uint64
	longest time.Duration
	off     atomic.Bool

	mu    sync.Mutex
	calls map[Call]int
}

func newJitter(seed uint64, longest time.Duration) *jitter {
	return &jitter{seed: seed, longest: longest, calls: map[Call]int{}}
}

func (j *jitter) tap(t *Tap) {
	t.Before = func(ctx context.Context, c Call) error { return j.pass(ctx, c, "request") }
	t.After = func(ctx context.Context, c Call, err error) error {
		if late := j.pass(ctx, c, "answer"); late != nil {
			return late
		}
		return err
	}
}

// pass waits for the delay, or until ctx ends.
func (j *jitter) pass(ctx context.Context, c Call, way string) error {
	if j.off.Load() {
		return nil
	}
	j.mu.Lock()
	j.calls[c]++
	h := fnv.New64a()
	_, _ = h.Write(fmt.Append(nil, j.seed, c, way, j.calls[c])) // a hash has no errors
	j.mu.Unlock()
	// There are few different delays, so that calls often happen at the same time.
	const steps = 4
	step := h.Sum64() % steps
	if step == 0 {
		// Don't make a timer of 0. Its receiver would run it, and two of them at once
		// crash the race detector of Go 1.26 in a bubble.
		runtime.Gosched()
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(step) * j.longest / (steps - 1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
