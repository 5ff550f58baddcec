package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// TestRemoveLeftover removes a container of which the daemon has a record that only this
// engine's client knows: the answer to the create was lost. A removal that can't delete
// the record is refused. One that can leaves nothing.
func TestRemoveLeftover(t *testing.T) {
	r := newRig(t)
	id := r.create("c1", "exit 0")
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
	id := r.create("c1", "exit 0")
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
