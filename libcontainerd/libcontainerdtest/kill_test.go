package libcontainerdtest

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// TestKillWhilePausing has SIGKILL arrive when the container is frozen, and the answer of the pause is on its way.
func TestKillWhilePausing(t *testing.T) {
	frozen, answer := make(chan struct{}), make(chan struct{})
	prepare := func(tap *Tap) {
		frozen, answer = make(chan struct{}), make(chan struct{}) // of the bubble
		tap.After = func(_ context.Context, c Call, err error) error {
			if c.Op == "Pause" {
				close(frozen)
				<-answer
			}
			return err
		}
	}
	bubble(t, prepare, func(e *env) {
		ctr := e.started("sleep 1000")
		paused, killed := make(chan error, 1), make(chan error, 1)
		go func() { paused <- ctr.Pause(e.ctx) }()
		<-frozen
		go func() { killed <- ctr.Signal(e.ctx, initProcess, syscall.SIGKILL) }()
		synctest.Wait()
		e.status(ctr, libcontainerd.StatusPausing)
		close(answer)
		e.must(<-killed)
		e.must(<-paused)
		e.exits(ctr, initProcess, 137)
	})
}
