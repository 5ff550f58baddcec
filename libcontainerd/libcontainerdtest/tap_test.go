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

// bubble runs fn with a client of the fake daemon in virtual time. prepare gets
// the tap between them before the client is there; it may be nil.
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

// jitter makes each call of a daemon and each answer take some time, up to
// longest. The same seed gives each call the same times.
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

// pass takes its time, or until ctx ends.
func (j *jitter) pass(ctx context.Context, c Call, way string) error {
	if j.off.Load() {
		return nil
	}
	j.mu.Lock()
	j.calls[c]++
	h := fnv.New64a()
	_, _ = h.Write(fmt.Append(nil, j.seed, c, way, j.calls[c])) // it never fails
	j.mu.Unlock()
	// Few different times: what shall happen at once does.
	const steps = 4
	step := h.Sum64() % steps
	if step == 0 {
		// No timer that has run out when it is made: its receiver would run it, and
		// two that do so at once crash the race detector of Go 1.26 in a bubble.
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
