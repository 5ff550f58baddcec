package engine

import (
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/journal"
)

// lateWait answers a wait for a container that was removed; NotFound where
// nothing is known of it, or where it would have to exit again.
func (e *Engine) lateWait(ref string, c container.WaitCondition) (<-chan container.WaitResponse, error) {
	if c == container.WaitConditionNextExit {
		return nil, record.NotFound(ref)
	}
	var exit *record.RemovedExit
	err := e.store.View(func(s *journal.Snapshot) (err error) {
		exit, err = record.FindRemovedExit(s, e.store.Oldest(), ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	answer := make(chan container.WaitResponse, 1)
	answer <- container.WaitResponse{StatusCode: int64(exit.ExitCode)}
	close(answer)
	return answer, nil
}
