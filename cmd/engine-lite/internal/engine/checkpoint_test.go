package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/checkpoint"
)

// TestCheckpointAfterKill makes a checkpoint whose name an engine holds that was killed while it wrote one.
func TestCheckpointAfterKill(t *testing.T) {
	r := newRig(t)
	r.experimental = true
	r.reopen()
	id := r.create("one", "sleep 1000")
	req := checkpoint.CreateRequest{CheckpointID: "half"}
	if err := r.e.CheckpointCreate(t.Context(), id, req); !errdefs.IsConflict(err) {
		t.Errorf("of a container that doesn't run: %v", err)
	}
	must(t, r.e.ContainerStart(t.Context(), id))
	root := filepath.Join(r.e.containerDir(id), "checkpoints")
	must(t, os.MkdirAll(filepath.Join(root, "half"), 0o700))
	must(t, os.MkdirAll(filepath.Join(root, ".half~"+id, "images"), 0o700))
	listed := func(want int) {
		t.Helper()
		if list, err := r.e.CheckpointList(t.Context(), id, ""); err != nil || len(list) != want {
			t.Errorf("%v, %v", list, err)
		}
	}
	listed(0)
	if err := r.e.ContainerRestore(t.Context(), id, "", "half"); !errdefs.IsNotFound(err) {
		t.Errorf("a start from half a checkpoint: %v", err)
	}
	must(t, r.e.CheckpointCreate(t.Context(), id, req))
	listed(1)
	if left, err := os.ReadDir(root); err != nil || len(left) != 1 {
		t.Errorf("%v are left, %v", left, err)
	}
	if err := r.e.CheckpointCreate(t.Context(), id, req); !errdefs.IsConflict(err) {
		t.Errorf("a name that is taken: %v", err)
	}
	must(t, r.e.CheckpointDelete(t.Context(), id, "", "half"))
	if err := r.e.CheckpointDelete(t.Context(), id, "", "half"); !errdefs.IsNotFound(err) {
		t.Errorf("a name that is free: %v", err)
	}
	listed(0)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}
