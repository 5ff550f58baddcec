package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/journal"
)

// bygone is the last exit of a container that was removed: who waits too late
// still gets the code. It is kept as long as the event of the removal. Only the
// id finds it: a name may be somebody else's by now.
type bygone struct {
	Name       string
	Generation uint64
	// ExitCode is Docker's number, ExitUnknown the reason why it is 255 where
	// nobody knows it.
	ExitCode    int
	ExitUnknown string `json:",omitempty"`
	OOMKilled   bool   `json:",omitempty"`
	FinishedAt  time.Time
	// Seq is the number of the event destroy.
	Seq uint64
}

// Records of removed containers, and their ids by the number of that event.
const (
	kindBygone      = "bygone"       // id -> bygone
	kindBygoneOrder = "bygone-order" // number, 16 hexadecimal digits -> id
)

func bygoneOrder(seq uint64) string { return fmt.Sprintf("%016x", seq) }

// keepExit writes down the last exit of a container whose removal is event seq,
// and forgets some of those whose event isn't kept any more: more than come, so
// that they don't pile up.
func keepExit(tx *journal.Tx, r *record, seq, oldest uint64) error {
	raw, err := json.Marshal(bygone{
		Name: r.Name, Generation: r.Generation, ExitCode: r.shownExitCode(), ExitUnknown: r.ExitUnknown,
		OOMKilled: r.OOMKilled, FinishedAt: r.FinishedAt, Seq: seq,
	})
	if err != nil {
		return fmt.Errorf("exit of container %s: %w", r.ID, err)
	}
	tx.Put(kindBygone, r.ID, raw)
	tx.Put(kindBygoneOrder, bygoneOrder(seq), []byte(r.ID))
	return forgetExits(tx, oldest)
}

// forgottenAtOnce bounds what a removal spends on those before it.
const forgottenAtOnce = 16

var errEnough = errors.New("enough")

func forgetExits(tx *journal.Tx, oldest uint64) error {
	left := forgottenAtOnce
	err := tx.ForEach(kindBygoneOrder, func(seq string, id []byte) error {
		if left == 0 || seq >= bygoneOrder(oldest) {
			return errEnough
		}
		left--
		tx.Delete(kindBygoneOrder, seq)
		tx.Delete(kindBygone, string(id))
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// lateWait answers a wait for a container that was removed; NotFound where
// nothing is known of it, or where it would have to exit again.
func (e *Engine) lateWait(ref string, c container.WaitCondition) (<-chan container.WaitResponse, error) {
	if c == container.WaitConditionNextExit {
		return nil, noContainer(ref)
	}
	gone, err := e.findBygone(ref)
	if err != nil {
		return nil, err
	}
	answer := make(chan container.WaitResponse, 1)
	answer <- container.WaitResponse{StatusCode: int64(gone.ExitCode)}
	close(answer)
	return answer, nil
}

// findBygone finds a removed container by its id or the beginning of one id.
func (e *Engine) findBygone(ref string) (*bygone, error) {
	var found []*bygone
	oldest := e.journal.Oldest()
	err := e.journal.View(func(s *journal.Snapshot) error {
		if ref == "" {
			return nil
		}
		return s.ForEachPrefix(kindBygone, ref, func(_ string, raw []byte) error {
			gone := new(bygone)
			if err := json.Unmarshal(raw, gone); err != nil {
				return fmt.Errorf("record of a removed container: %w: %w", err, errdefs.ErrDataLoss)
			}
			if gone.Seq >= oldest {
				found = append(found, gone)
			}
			if len(found) > 1 {
				return errEnough
			}
			return nil
		})
	})
	switch {
	case err != nil && !errors.Is(err, errEnough):
		return nil, err
	case len(found) == 0:
		return nil, noContainer(ref)
	case len(found) > 1:
		return nil, refuse(errdefs.ErrInvalidArgument, "several removed containers have an id that begins with %q", ref)
	}
	return found[0], nil
}
