package engine

import (
	"context"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// dies subscribes, and returns the ids of the containers that die.
func (r *rig) dies() <-chan string {
	r.t.Helper()
	ids, from := make(chan string, 10), r.e.store.Newest()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.e.Events(ctx, eventstream.Options{After: &from}, func(ev eventstream.Event) error {
			if ev.Action == "die" {
				ids <- ev.Actor.ID
			}
			return nil
		})
	}()
	r.t.Cleanup(func() { cancel(); <-done })
	return ids
}

// hangsInDelete runs a container on a daemon that copies output, and has the daemon hang in the deletion of its ended
// task. The exit is in the journal.
func (r *rig) hangsInDelete() (id string) {
	r.t.Helper()
	id = r.run("stuck", "cat; echo last words; exit 3", withStdin)
	r.daemon.Fail("Delete", 1, libHang())
	before := r.daemon.Calls("Delete")
	must(r.t, r.daemon.CloseIO(r.t.Context(), id, libcontainerd.InitProcess))
	eventually(r.t, func() bool { return r.daemon.Calls("Delete") > before })
	return id
}

func newCopyingRig(t *testing.T) *rig {
	r := newRig(t)
	r.close()
	r.copies = true
	r.open()
	return r
}

// TestHungDeleteDelaysNoOtherDie has the shim of one container hang while its task is deleted. Subscribers get the die
// of another container at once, and the die of the first when its log is complete.
func TestHungDeleteDelaysNoOtherDie(t *testing.T) {
	r := newCopyingRig(t)
	dies := r.dies()
	stuck := r.hangsInDelete()
	other := r.run("other", "exit 5")
	select {
	case id := <-dies:
		if id != other {
			t.Errorf("%s died", id)
		}
	case <-time.After(time.Second):
		t.Error("the die of the other container waits for the first")
	}
	r.ended(other)
	if got := r.task(stuck).Record(); !got.Running() || got.EndedRun() == nil || got.Ended.Code != 3 {
		t.Errorf("before the delete: %s, %+v", got.Status, got.Ended)
	}
	r.daemon.Release()
	if id := receive(t, dies); id != stuck {
		t.Errorf("%s died", id)
	}
	r.ended(stuck)
	r.diedOnce(stuck, 3, 0)
	for _, id := range []string{stuck, other} {
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	}
	r.empty()
}

// diedOnce checks the record, the events and the log of the container of hangsInDelete.
func (r *rig) diedOnce(id string, code, recovered int) {
	r.t.Helper()
	if got := r.task(id).Record(); got.Status != record.StatusExited || got.ExitCode != code || got.ExitUnknown != "" ||
		got.Ended != nil {
		r.t.Errorf("%s with %d %q, %+v", got.Status, got.ExitCode, got.ExitUnknown, got.Ended)
	}
	n := 0
	for _, action := range r.actions(id) {
		if action == "die" {
			n++
		}
	}
	if n != 1 || r.recovered(id, "die") != recovered {
		r.t.Errorf("%d die events, %d recovered", n, r.recovered(id, "die"))
	}
	if got := r.logs(id); got != "last words\n" {
		r.t.Errorf("the log has %q", got)
	}
}

// TestKilledBeforeDie kills the engine before the event of an exit: before the exit is written down, and after that,
// with and without the task at the daemon. The next engine has the exit, once, and the last output.
func TestKilledBeforeDie(t *testing.T) {
	noted := func(rec *record.Record) {
		rec.Ended = &record.Ended{Generation: rec.Generation, Code: 3, Time: time.Now()}
	}
	for name, c := range map[string]struct {
		note      func(rec *record.Record)
		deleted   bool
		recovered int
	}{
		"before the exit is written down": {note: nothingMore, recovered: 1},
		"before the delete":               {note: noted},
		"after the delete":                {note: noted, deleted: true},
		"in an earlier run, by a release that does not know": {recovered: 1, note: func(rec *record.Record) {
			rec.Ended = &record.Ended{Generation: rec.Generation - 1, Code: 4}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newCopyingRig(t)
			id := r.run("", "cat; echo last words; exit 3", withStdin)
			r.close()
			must(t, r.daemon.CloseIO(t.Context(), id, libcontainerd.InitProcess))
			_, err := r.daemon.Wait(t.Context(), id, libcontainerd.InitProcess)
			must(t, err)
			if c.deleted {
				_, err := r.daemon.Delete(t.Context(), id, libcontainerd.InitProcess)
				must(t, err)
			}
			r.reopen(edit(id, c.note))
			r.ended(id)
			r.diedOnce(id, 3, c.recovered)
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
			r.empty()
		})
	}
}

// TestHungDeleteAfterRestart has the daemon hang in the deletion of a task whose exit an earlier engine wrote down.
func TestHungDeleteAfterRestart(t *testing.T) {
	r := newCopyingRig(t)
	id := r.run("", "cat; echo last words; exit 3", withStdin)
	r.close()
	must(t, r.daemon.CloseIO(t.Context(), id, libcontainerd.InitProcess))
	_, err := r.daemon.Wait(t.Context(), id, libcontainerd.InitProcess)
	must(t, err)
	r.daemon.Fail("Delete", 1, libHang())
	before := r.daemon.Calls("Delete")
	r.reopen(edit(id, func(rec *record.Record) {
		rec.Ended = &record.Ended{Generation: rec.Generation, Code: 3, Time: time.Now()}
	}))
	eventually(t, func() bool { return r.daemon.Calls("Delete") > before })
	dies := r.dies()
	other := r.run("", "exit 5")
	if got := receive(t, dies); got != other {
		t.Errorf("%s died", got)
	}
	r.ended(other)
	must(t, r.e.ContainerRemove(t.Context(), other, RemoveOptions{}))
	r.daemon.Release()
	r.ended(id)
	r.diedOnce(id, 3, 0)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}
