package images

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// usedBy says which containers use which images.
type usedBy struct {
	images []digest.Digest
	names  []string
}

func (u usedBy) CountByImage() map[string]int64 { return nil }
func (u usedBy) ImageNames() []string           { return u.names }
func (u usedBy) ImageUses(id digest.Digest) []Use {
	if slices.Contains(u.images, id) {
		return []Use{{ContainerID: "c1"}}
	}
	return nil
}

func openAPI(t testing.TB, s *Store, c Containers) *API {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal.db"), journal.Options{Format: store.Format})
	must(t, err)
	st := store.New(j)
	t.Cleanup(func() { must(t, st.Close()) })
	return NewAPI(s, st, c)
}

// eventsOf lists the events so far, with their names, or what they reclaimed.
func eventsOf(t testing.TB, a *API) []string {
	t.Helper()
	var list []string
	must(t, store.Dump(t.Context(), a.store, store.DumpOptions{}, func(line store.DumpLine) error {
		list = append(list, line.Event.Action+" "+line.Event.Attributes["name"]+line.Event.Attributes["reclaimed"])
		return nil
	}))
	return list
}

// TestPrune has images box (a:1, a:2), alone (b:1) and old, which has lost its name.
func TestPrune(t *testing.T) {
	tree := makeTar(t, file{name: "x", data: make([]byte, 100_000)})
	box, alone := makeImage(t, "", "box", tree), makeImage(t, "", "alone", tree, makeTar(t, file{name: "y"}))
	old := makeImage(t, "", "old", makeTar(t, file{name: "z"}))
	archives := [][]byte{dockerArchive(t, box, "a:1", "a:2"), dockerArchive(t, alone, "b:1"), dockerArchive(t, old)}
	s := openStore(t, overlayfs)
	for name, c := range map[string]struct {
		filters filters.Filters
		use     usedBy
		left    []string // names and ids
	}{
		"dangling":      {left: []string{"a:1", "a:2", "b:1"}},
		"dangling used": {use: usedBy{images: []digest.Digest{old.id()}}, left: []string{"a:1", "a:2", "b:1", old.id().String()}},
		"all":           {filters: filters.Filters{"dangling": {"false"}}},
		"a name in use": {filters: filters.Filters{"dangling": {"false"}},
			use: usedBy{[]digest.Digest{box.id()}, []string{"a:1"}}, left: []string{"a:1"}},
		"an id in use": {filters: filters.Filters{"dangling": {"false"}},
			use:  usedBy{[]digest.Digest{box.id(), old.id()}, []string{box.id().String(), "z"}},
			left: []string{"a:2", old.id().String()}},
		"a name that another image has now": {filters: filters.Filters{"dangling": {"false"}},
			use: usedBy{[]digest.Digest{old.id()}, []string{"b:1"}}, left: []string{"b:1", old.id().String()}},
		"tag and digest": {filters: filters.Filters{"dangling": {"false"}},
			use: usedBy{names: []string{"a:1@" + box.desc.Digest.String()}}, left: []string{"a:1"}},
		"label":       {filters: filters.Filters{"dangling": {"false"}, "label": {"tag=box"}}, left: []string{"b:1", old.id().String()}},
		"not a label": {filters: filters.Filters{"dangling": {"false"}, "label!": {"tag=box"}}, left: []string{"a:1", "a:2"}},
		"too new":     {filters: filters.Filters{"until": {"1h"}}, left: []string{"a:1", "a:2", "b:1", old.id().String()}},
		"old enough":  {filters: filters.Filters{"until": {"-1h"}}, left: []string{"a:1", "a:2", "b:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, archive := range archives { // what the case before has removed is there again
				load(t, s, archive)
			}
			a := openAPI(t, s, c.use)
			before, err := s.TotalSize(t.Context())
			must(t, err)
			report, err := a.ImagePrune(t.Context(), c.filters)
			must(t, err)
			list, err := s.List(t.Context(), ListOptions{})
			must(t, err)
			var left []string
			for _, img := range list {
				if len(img.RepoTags) == 0 {
					left = append(left, img.ID)
				}
				left = append(left, img.RepoTags...)
			}
			slices.Sort(left)
			if !slices.Equal(left, c.left) {
				t.Errorf("left %q, not %q", left, c.left)
			}
			after, err := s.TotalSize(t.Context())
			must(t, err)
			if int64(report.SpaceReclaimed) != before-after {
				t.Errorf("reclaimed %d of %d, and %d are left", report.SpaceReclaimed, before, after)
			}
			var told []string
			for _, d := range report.ImagesDeleted {
				if d.Untagged != "" {
					told = append(told, "untag "+d.Untagged)
				} else {
					told = append(told, "delete "+d.Deleted)
				}
			}
			told = append(told, fmt.Sprintf("prune %d", report.SpaceReclaimed))
			if got := eventsOf(t, a); !slices.Equal(got, told) {
				t.Errorf("events %q, told %q", got, told)
			}
		})
	}
}

func TestPruneRefusals(t *testing.T) {
	a := openAPI(t, openStore(t, overlayfs), unused{})
	for _, f := range []filters.Filters{{"nonsense": {"x"}}, {"dangling": {"x"}}, {"until": {"x"}}, {"until": {"1h", "2h"}}} {
		if _, err := a.ImagePrune(t.Context(), f); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", f, err)
		}
	}
	a.pruning.Store(true)
	if _, err := a.ImagePrune(t.Context(), nil); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "already running") {
		t.Error(err)
	}
	if got := eventsOf(t, a); len(got) > 0 {
		t.Errorf("events %q", got)
	}
}

// TestPruneCutOff ends a prune after the first image: the next one takes the rest, and nothing stays of the first.
func TestPruneCutOff(t *testing.T) {
	s := openStore(t, overlayfs)
	for _, name := range []string{"a", "b", "c"} {
		load(t, s, dockerArchive(t, makeImage(t, "", name, makeTar(t, file{name: name})), name))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client is gone")
	removed := 0
	o := PruneOptions{All: true, Removed: func(digest.Digest, []image.DeleteResponse) error {
		removed++
		cancel(gone)
		return nil
	}}
	if _, err := s.Prune(ctx, o); !errors.Is(err, gone) || removed != 1 {
		t.Errorf("removed %d, %v", removed, err)
	}
	if list, err := s.List(t.Context(), ListOptions{}); err != nil || len(list) != 2 {
		t.Errorf("%d images are left, %v", len(list), err)
	}
	if blobs, _, snaps := leftovers(t, s); blobs != 6 || snaps != 2 {
		t.Errorf("%d blobs and %d snapshots are left", blobs, snaps)
	}
	reclaimed, err := s.Prune(t.Context(), o)
	if err != nil || reclaimed <= 0 || removed != 3 {
		t.Errorf("removed %d with %d bytes, %v", removed, reclaimed, err)
	}
	requireEmpty(t, s)
}

// TestPruneBesideTag gives an image a name while the prune is about to remove it as one without a name.
func TestPruneBesideTag(t *testing.T) {
	s := openStore(t, overlayfs)
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	load(t, s, dockerArchive(t, img))
	o := PruneOptions{
		InUse: func(id digest.Digest) []Use {
			must(t, s.Tag(t.Context(), id.String(), "saved:1"))
			return nil
		},
		Removed: func(_ digest.Digest, changes []image.DeleteResponse) error {
			t.Errorf("removed %v", changes)
			return nil
		},
	}
	if n, err := s.Prune(t.Context(), o); err != nil || n != 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := s.Resolve(t.Context(), "saved:1"); err != nil {
		t.Error(err)
	}
}

// TestPruneKeepsWhatContainersNeed prunes the image of a container that is left without a name: the layers below the
// container stay, and only the blobs count.
func TestPruneKeepsWhatContainersNeed(t *testing.T) {
	s := openStore(t, overlayfs)
	load(t, s, dockerArchive(t, makeImage(t, "", "1", makeTar(t, file{name: "x", data: make([]byte, 100_000)})), "a"))
	img, err := s.Resolve(t.Context(), "a")
	must(t, err)
	_, err = s.PrepareRootfs(t.Context(), "c1", img)
	must(t, err)
	var blobs int64
	for _, blob := range img.Content {
		blobs += blob.Size
	}
	n, err := s.Prune(t.Context(), PruneOptions{All: true, Removed: func(digest.Digest, []image.DeleteResponse) error { return nil }})
	if err != nil || n != blobs {
		t.Errorf("%d bytes, not %d: %v", n, blobs, err)
	}
	if _, all, err := s.Usage(t.Context(), "c1"); err != nil || all < 100_000 {
		t.Errorf("%d bytes, %v", all, err)
	}
	must(t, s.RemoveRootfs(t.Context(), "c1"))
	requireEmpty(t, s)
}

func TestUntilIsTheTimeOfTheName(t *testing.T) {
	s := openStore(t, overlayfs)
	load(t, s, dockerArchive(t, makeImage(t, "", "1", makeTar(t, file{name: "x"})), "a")) // created in 2023
	for until, want := range map[time.Duration]int{-time.Hour: 0, time.Hour: 1} {
		if got := s.prunable(PruneOptions{All: true, Until: time.Now().Add(until)}); len(got) != want {
			t.Errorf("%v: %d images", until, len(got))
		}
	}
}
