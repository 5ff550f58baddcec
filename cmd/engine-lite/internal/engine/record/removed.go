package record

import (
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// RemovedExit is the last exit of a container that was removed: a wait that comes too late
// still gets the code. The record is kept as long as the event of the removal. Only the
// id finds it: another container may have the name by now.
type RemovedExit struct {
	// Schema is the version of the stored form.
	Schema     uint `json:",omitzero"`
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

	Unknown Unknown `json:",embed"`
}

func removalOrder(seq uint64) string { return fmt.Sprintf("%016x", seq) }

// KeepExit writes down the last exit of a container whose removal is event seq,
// and forgets some of those whose event isn't kept any more: more than come, so
// that they don't pile up.
func KeepExit(tx *store.Tx, r *Record, seq, oldest uint64) error {
	err := RemovedExits.Put(tx, r.ID, &RemovedExit{
		Name: r.Name, Generation: r.Generation, ExitCode: r.ShownExitCode(), ExitUnknown: r.ExitUnknown,
		OOMKilled: r.OOMKilled, FinishedAt: r.FinishedAt, Seq: seq,
	})
	if err != nil {
		return err
	}
	if err := RemovalOrder.Put(tx, removalOrder(seq), r.ID); err != nil {
		return err
	}
	return forgetExits(tx, oldest)
}

// forgottenAtOnce bounds what a removal spends on those before it.
const forgottenAtOnce = 16

var errEnough = errors.New("enough")

func forgetExits(tx *store.Tx, oldest uint64) error {
	left := forgottenAtOnce
	err := RemovalOrder.ForEach(tx, func(seq, id string) error {
		if left == 0 || seq >= removalOrder(oldest) {
			return errEnough
		}
		left--
		RemovalOrder.Delete(tx, seq)
		RemovedExits.Delete(tx, id)
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// shortID is the least length of the beginning of an id that stands for a removed container, in characters: what docker
// ps prints. A shorter one may be meant for a name.
const shortID = 12

// FindRemovedExit finds the exit of a removed container by the container's id, or by the beginning of the id. oldest is
// the number of the oldest event that the journal keeps. Errors: NotFound; InvalidArgument where several ids begin so.
func FindRemovedExit(s *journal.Snapshot, oldest uint64, ref string) (*RemovedExit, error) {
	var found []*RemovedExit
	if len(ref) >= shortID {
		err := RemovedExits.ForEachPrefix(s, ref, func(_ string, x *RemovedExit) error {
			if x.Seq >= oldest {
				found = append(found, x)
			}
			if len(found) > 1 {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
	}
	switch len(found) {
	case 0:
		return nil, NotFound(ref)
	case 1:
		return found[0], nil
	}
	return nil, classed.Errorf(errdefs.ErrInvalidArgument, "several removed containers have an id that begins with %q", ref)
}

// NotFound is the error for a container that does not exist, in Docker's words.
func NotFound(ref string) error {
	return classed.Errorf(errdefs.ErrNotFound, "No such container: %s", ref)
}
