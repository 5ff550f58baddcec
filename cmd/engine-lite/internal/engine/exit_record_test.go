package engine

import (
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

func TestWaitForARemovedContainer(t *testing.T) {
	r := newRig(t)
	removed := r.create("one", "exit 7")
	must(t, r.e.ContainerStart(t.Context(), removed))
	r.ended(removed)
	must(t, r.e.ContainerRemove(t.Context(), removed, RemoveOptions{}))
	auto := r.create("two", "exit 9", autoRemove)
	gone := r.wait(auto, container.WaitConditionRemoved)
	must(t, r.e.ContainerStart(t.Context(), auto))
	if code := receive(t, gone).StatusCode; code != 9 {
		t.Errorf("wait says %d", code)
	}
	never := r.create("three", "exit 1")
	must(t, r.e.ContainerRemove(t.Context(), never, RemoveOptions{}))

	for _, turn := range []string{"the same engine", "the next one"} {
		for id, want := range map[string]int64{removed: 7, removed[:12]: 7, auto: 9, never: 0} {
			for _, c := range []container.WaitCondition{"", container.WaitConditionNotRunning,
				container.WaitConditionRemoved} {
				if got := receive(t, r.wait(id, c)); got.StatusCode != want || got.Error != nil {
					t.Errorf("%s, %.12s, %s: %+v", turn, id, c, got)
				}
			}
			if _, err := r.e.ContainerWait(t.Context(), id, container.WaitConditionNextExit); !errdefs.IsNotFound(err) {
				t.Errorf("%s, next exit: %v", turn, err)
			}
			if _, err := r.e.ContainerInspect(t.Context(), id, false); !errdefs.IsNotFound(err) {
				t.Errorf("%s, inspect: %v", turn, err)
			}
		}
		for _, ref := range []string{"one", "", "x", removed + "0"} {
			if _, err := r.e.ContainerWait(t.Context(), ref, ""); !errdefs.IsNotFound(err) {
				t.Errorf("%s, %q: %v", turn, ref, err)
			}
		}
		r.reopen()
	}
	again := r.create("one", "sleep 1000")
	if code := receive(t, r.wait(removed, "")).StatusCode; code != 7 {
		t.Errorf("with its name taken by %.12s: %d", again, code)
	}
}

func TestARemovedContainerIsKeptAsLongAsItsEvent(t *testing.T) {
	r := newRig(t)
	r.close()
	r.bytes = 4 << 10 // some ten events
	r.open()
	var ids []string
	for i := range 40 {
		id := r.create("", "exit 1")
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
		ids = append(ids, id)
		for n, old := range ids {
			_, err := r.e.ContainerWait(t.Context(), old, "")
			if kept := r.destroyKept(old); kept != (err == nil) || err != nil && !errdefs.IsNotFound(err) {
				t.Fatalf("after %d removals, the event of number %d is kept: %t, and wait says: %v", i+1, n+1, kept,
					err)
			}
		}
	}
	left := map[string]int{}
	must(t, r.e.store.View(func(s *journal.Snapshot) error {
		for _, kind := range []string{record.RemovedExits.Name, record.RemovalOrder.Name} {
			must(t, s.ForEach(kind, func(string, []byte) error { left[kind]++; return nil }))
		}
		return nil
	}))
	if n := left[record.RemovedExits.Name]; n > 15 || n == 0 || n != left[record.RemovalOrder.Name] {
		t.Errorf("40 were removed, and there are %v", left)
	}
}

func (r *rig) destroyKept(id string) bool {
	for c := r.e.store.Cursor(r.e.store.Oldest() - 1); ; {
		ev, ok, err := c.Poll()
		must(r.t, err)
		if !ok {
			return false
		}
		if ev.ID == id && ev.Action == "destroy" {
			return true
		}
	}
}

func TestTheBeginningOfSeveralRemovedIDs(t *testing.T) {
	r := newRig(t)
	must(t, r.e.store.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 2 {
			seq := tx.Append(journal.Event{Type: "container", Action: "destroy"})
			must(t, record.KeepExit(tx,
				&record.Record{ID: fmt.Sprintf("abcdef012345%d", i), Status: record.StatusExited, ExitUnknown: "nobody knows"},
				seq, 1))
		}
		return nil
	}))
	if _, err := r.e.ContainerWait(t.Context(), "abcdef012345", ""); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v", err)
	}
	if _, err := r.e.ContainerWait(t.Context(), "abc", ""); !errdefs.IsNotFound(err) {
		t.Errorf("a short beginning, which may be meant for a name: %v", err)
	}
	if code := receive(t, r.wait("abcdef0123451", "")).StatusCode; code != 255 {
		t.Errorf("an unknown exit is %d", code)
	}
}
