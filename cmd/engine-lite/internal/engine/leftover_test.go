package engine

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// TestRemoveLeftover removes a container of which the daemon has a record that only this
// engine's client knows: the answer to the create was lost. A removal that can't delete
// the record is refused. One that can leaves nothing.
func TestRemoveLeftover(t *testing.T) {
	r := newRig(t)
	id := r.create("c", "exit 0")
	r.daemon.Fail("CreateContainer", 1, libcontainerdtest.Fault{Late: true, Err: errdefs.ErrUnavailable})
	r.daemon.Fail("DeleteContainer", 1, libcontainerdtest.Fault{Err: errdefs.ErrUnavailable})
	if err := r.e.ContainerStart(t.Context(), id); !errdefs.IsUnavailable(err) {
		t.Fatalf("start: %v", err)
	}
	r.stored(id)
	r.daemon.Fail("DeleteContainer", 1, libcontainerdtest.Fault{Err: errdefs.ErrUnavailable})
	if err := r.e.ContainerRemove(t.Context(), id, RemoveOptions{}); !errdefs.IsUnavailable(err) {
		t.Fatalf("remove: %v", err)
	}
	r.stored(id)
	if got := r.task(id).Record().Status; got == record.StatusRemoving {
		t.Errorf("the container is %s", got)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.stored()
	r.empty()
}

// TestRemoveWhileALeftoverIsCleared removes a container while the client layer deletes the
// record that a failed start may have left.
func TestRemoveWhileALeftoverIsCleared(t *testing.T) {
	r := newRig(t)
	id := r.create("c", "exit 0")
	r.daemon.Fail("CreateContainer", 1, libcontainerdtest.Fault{Late: true, Err: errdefs.ErrUnavailable})
	r.daemon.Fail("DeleteContainer", 1, libcontainerdtest.Fault{Err: errdefs.ErrUnavailable})
	if err := r.e.ContainerStart(t.Context(), id); !errdefs.IsUnavailable(err) {
		t.Fatalf("start: %v", err)
	}
	r.daemon.Fail("DeleteContainer", 1, libHang())
	before := r.daemon.Calls("DeleteContainer")
	r.daemon.SetDown(true)
	r.daemon.SetDown(false) // the client compares its containers with the daemon again
	eventually(t, func() bool { return r.daemon.Calls("DeleteContainer") > before })
	removed := make(chan error, 1)
	go func() { removed <- r.e.ContainerRemove(t.Context(), id, RemoveOptions{}) }()
	select {
	case err := <-removed:
		t.Errorf("it was removed with a record left: %v", err)
		removed <- err
	case <-time.After(100 * time.Millisecond):
	}
	r.daemon.Release()
	must(t, receive(t, removed))
	r.empty()
}

// stored compares the records that the daemon has.
func (r *rig) stored(want ...string) {
	r.t.Helper()
	var got []string
	must(r.t, r.daemon.Containers(r.t.Context(), func(id string) error {
		got = append(got, id)
		return nil
	}))
	if !slices.Equal(got, want) {
		r.t.Fatalf("the daemon has records of %v, want %v", got, want)
	}
}

// TestLeftoverExecs ends execs, one after the other, while an engine looks for leftover
// execs. It must find only those.
func TestLeftoverExecs(t *testing.T) {
	t.Parallel()
	e, o := &Engine{opts: Options{Root: t.TempDir()}},
		&task{Container: containers.New(nil, &record.Record{ID: "c"}), execs: map[string]*execution{}}
	leftover := e.execDir(o.ID, "leftover")
	if err := os.MkdirAll(leftover, 0o700); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- endExecs(e, o, 1000) }()
	for over := false; !over; {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			over = true
		default:
		}
		found, err := e.leftoverExecs(o)
		if !t.Failed() && (err != nil || !slices.Equal(found, []string{"leftover"})) {
			t.Errorf("leftover execs are %v: %v", found, err)
		}
	}
}

// endExecs ends execs as finishExec does: it removes the directory, then the name.
func endExecs(e *Engine, o *task, count int) error {
	for n := range count {
		id := fmt.Sprintf("exec%d", n)
		o.Change(func() { o.execs[id] = &execution{id: id} })
		if err := os.Mkdir(e.execDir(o.ID, id), 0o700); err != nil {
			return err
		}
		if err := os.Remove(e.execDir(o.ID, id)); err != nil {
			return err
		}
		o.Change(func() { delete(o.execs, id) })
	}
	return nil
}
