package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/system"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// TestPruneDiesInARemoval has a removal that doesn't come to its end, as with a kill: prune goes on with the others, and
// the next engine finishes that one.
func TestPruneDiesInARemoval(t *testing.T) {
	failing := ""
	r := newBusyRig(t, func() error {
		if failing == "" {
			return nil
		}
		failing = ""
		return errBusy
	})
	up := r.run("up", "sleep 1000")
	exited := r.run("exited", "exit 3")
	r.ended(exited)
	created := r.create("created", "true")
	failing = "the first removal"
	report, err := r.e.ContainerPrune(t.Context(), nil)
	must(t, err)
	if !slices.Equal(report.ContainersDeleted, []string{exited}) || report.SpaceReclaimed == 0 {
		t.Errorf("%+v", report)
	}
	if status := r.task(created).Record().Status; status != record.StatusRemoving {
		t.Errorf("the container whose removal failed is %s", status)
	}
	r.reopen()
	eventually(t, func() bool {
		_, err := r.e.find(created)
		return errdefs.IsNotFound(err)
	})
	if got := r.actions(created); !slices.Equal(got, []string{"create", "destroy"}) {
		t.Errorf("events %q", got)
	}
	if got := r.actions(""); !slices.Equal(got, []string{"prune"}) {
		t.Errorf("events of no container %q", got)
	}
	if status := r.task(up).Record().Status; status != record.StatusRunning {
		t.Errorf("the container that ran is %s", status)
	}
	found, err := r.e.JournalCheck(t.Context())
	if err != nil || len(found) > 0 {
		t.Errorf("%q, %v", found, err)
	}
}

// TestSizesOfContainers asks for what a container has written in each way in which one can ask.
func TestSizesOfContainers(t *testing.T) {
	r := newRig(t)
	id := r.create("c1", "true")
	mounts, err := r.e.images.Mounts(t.Context(), id)
	must(t, err)
	upper := mounts[0].Source // with the snapshotter native
	for _, option := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
			upper = dir
		}
	}
	must(t, os.WriteFile(filepath.Join(upper, "file"), make([]byte, 1<<20), 0o600))
	check := func(how string, written, total int64) {
		t.Helper()
		if written < 1<<20 || written > 1<<20+64<<10 || total <= written {
			t.Errorf("%s: %d of %d bytes", how, written, total)
		}
	}
	list, err := r.e.ContainerList(t.Context(), ListOptions{All: true, Size: true})
	must(t, err)
	check("list", list[0].SizeRw, list[0].SizeRootFs)
	one, err := r.e.ContainerInspect(t.Context(), id, true)
	must(t, err)
	check("inspect", *one.SizeRw, *one.SizeRootFs)
	df, err := r.e.SystemDiskUsage(t.Context(), []system.DiskUsageObject{system.ContainerObject, system.ImageObject})
	must(t, err)
	check("df", df.ContainerUsage.TotalSize, df.ContainerUsage.Items[0].SizeRootFs)
	if i := df.ImageUsage; i.ActiveCount != 1 || i.Reclaimable != 0 || i.TotalSize != i.Items[0].Size {
		t.Errorf("images: %+v", i)
	}
	if list, err = r.e.ContainerList(t.Context(), ListOptions{All: true}); err != nil || list[0].SizeRootFs != 0 {
		t.Errorf("without size: %+v, %v", list, err)
	}
}

// TestImagePruneBesideContainers prunes all images but that of a container, which goes after the container.
func TestImagePruneBesideContainers(t *testing.T) {
	r := newRig(t)
	must(t, r.e.ImageTag(t.Context(), "box", "other:1"))
	id := r.create("c1", "true")
	all := filters.Filters{"dangling": {"false"}}
	report, err := r.e.ImagePrune(t.Context(), all)
	if err != nil || len(report.ImagesDeleted) != 1 || report.ImagesDeleted[0].Untagged != "other:1" || report.SpaceReclaimed != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	report, err = r.e.ImagePrune(t.Context(), all)
	if err != nil || len(report.ImagesDeleted) != 2 || report.SpaceReclaimed == 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if list, err := r.e.ImageList(t.Context(), false, false, nil); err != nil || len(list) > 0 {
		t.Errorf("%+v, %v", list, err)
	}
}
