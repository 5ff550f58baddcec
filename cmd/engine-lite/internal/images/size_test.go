package images

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/image"
)

// TestSharedSize has two images with a layer in common, and one with nothing in common but the same blob as layer.
func TestSharedSize(t *testing.T) {
	s := openStore(t, overlayfs)
	common := makeTar(t, file{name: "common", data: make([]byte, 300_000)})
	load(t, s, dockerArchive(t, makeImage(t, "", "1", common, makeTar(t, file{name: "x"})), "a", "also:1"))
	load(t, s, dockerArchive(t, makeImage(t, "", "2", common, makeTar(t, file{name: "y"})), "b"))
	load(t, s, dockerArchive(t, makeImage(t, "", "3", makeTar(t, file{name: "z"})), "c"))
	list, err := s.List(t.Context(), ListOptions{SharedSize: true})
	must(t, err)
	byName := map[string]image.Summary{}
	for _, sum := range list {
		byName[sum.RepoTags[0]] = sum
	}
	a, b, c := byName["a:latest"], byName["b:latest"], byName["c:latest"]
	if a.SharedSize != b.SharedSize || a.SharedSize < 2*300_000 || a.SharedSize >= a.Size || c.SharedSize != 0 {
		t.Errorf("shared: %d of %d, %d of %d, %d of %d", a.SharedSize, a.Size, b.SharedSize, b.Size, c.SharedSize, c.Size)
	}
	total, err := s.TotalSize(t.Context())
	if want := a.Size + b.Size - a.SharedSize + c.Size; err != nil || total != want {
		t.Errorf("%d bytes in all, not %d: %v", total, want, err)
	}
	// The filter leaves the other image out of the list, and not out of the store.
	list, err = s.List(t.Context(), ListOptions{SharedSize: true, References: []string{"b"}})
	if err != nil || len(list) != 1 || list[0].SharedSize != b.SharedSize {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = s.List(t.Context(), ListOptions{}); err != nil || list[0].SharedSize != -1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestUsage(t *testing.T) {
	for _, snapshotter := range snapshotters {
		t.Run(snapshotter, func(t *testing.T) {
			s := openStore(t, snapshotter)
			load(t, s, dockerArchive(t, makeImage(t, "", "1", makeTar(t, file{name: "x", data: make([]byte, 300_000)}),
				makeTar(t, file{name: "y", data: make([]byte, 200_000)})), "a"))
			img, err := s.Resolve(t.Context(), "a")
			must(t, err)
			sizes, err := s.sizesOf(t.Context(), &img)
			must(t, err)
			mounts, err := s.PrepareRootfs(t.Context(), "c1", img)
			must(t, err)
			dir, ok := plainDirectory(mounts)
			if !ok {
				dir, ok = upperDirectory(mounts)
			}
			if !ok {
				t.Fatal(mounts)
			}
			empty, _, err := s.Usage(t.Context(), "c1")
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "new"), make([]byte, 100_000), 0o600))
			written, total, err := s.Usage(t.Context(), "c1")
			must(t, err)
			if grown := written - empty; grown < 100_000 || grown > 110_000 || total != written+sizes[0]+sizes[1] {
				t.Errorf("%d bytes, then %d, and %d with layers of %v", empty, written, total, sizes)
			}
		})
	}
}
