package images

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
)

func TestRemoveInUse(t *testing.T) {
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	id := img.id().String()
	stopped, running := []Use{{ContainerID: "abc"}}, []Use{{ContainerID: "abc"}, {ContainerID: "def", Running: true}}
	both := []string{"a:1", "b:1"}
	deleted := image.DeleteResponse{Deleted: id}
	untagged := func(names ...string) (list []image.DeleteResponse) {
		for _, n := range names {
			list = append(list, image.DeleteResponse{Untagged: n})
		}
		return list
	}
	for name, c := range map[string]struct {
		names    []string
		ref      string
		force    bool
		uses     []Use
		want     []image.DeleteResponse
		conflict bool
	}{
		"last name":              {names: both[:1], ref: "a:1", want: append(untagged("a:1"), deleted)},
		"one of two names":       {names: both, ref: "a:1", uses: running, want: untagged("a:1")},
		"id of two repositories": {names: both, ref: id, conflict: true},
		"id of two, forced":      {names: both, ref: id, force: true, want: append(untagged(both...), deleted)},
		"id of one repository": {names: []string{"a:1", "a:2"}, ref: id[7:19],
			want: append(untagged("a:1", "a:2"), deleted)},
		"stopped user": {names: both[:1], ref: "a:1", uses: stopped, conflict: true},
		"stopped user, forced": {names: both[:1], ref: "a:1", uses: stopped, force: true,
			want: append(untagged("a:1"), deleted)},
		"running user":               {names: both[:1], ref: "a:1", uses: running, conflict: true},
		"running user, forced":       {names: both[:1], ref: "a:1", uses: running, force: true, want: untagged("a:1")},
		"running user, forced by id": {names: both[:1], ref: id, uses: running, force: true, conflict: true},
		"untagged":                   {ref: id, want: []image.DeleteResponse{deleted}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, overlayfs)
			load(t, s, dockerArchive(t, img, c.names...))
			o := RemoveOptions{Force: c.force, InUse: func(digest.Digest) []Use { return c.uses }}
			got, err := s.Remove(t.Context(), c.ref, o)
			if errdefs.IsConflict(err) != c.conflict || !c.conflict && err != nil {
				t.Fatalf("got %v", err)
			}
			byName := func(a, b image.DeleteResponse) int { return strings.Compare(a.Untagged, b.Untagged) }
			slices.SortStableFunc(got, byName)
			slices.SortStableFunc(c.want, byName)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			_, err = s.Resolve(t.Context(), id)
			if gone := slices.Contains(c.want, deleted); errdefs.IsNotFound(err) != gone {
				t.Errorf("afterwards: %v", err)
			} else if gone {
				requireEmpty(t, s)
			}
		})
	}
}

func TestRemoveUnknown(t *testing.T) {
	s := openStore(t, overlayfs)
	for ref, class := range map[string]func(error) bool{
		"a": errdefs.IsNotFound, "sha256:" + strings.Repeat("0", 64): errdefs.IsNotFound,
		"A B": errdefs.IsInvalidArgument,
	} {
		if _, err := s.Remove(t.Context(), ref, RemoveOptions{}); !class(err) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestTagErrors(t *testing.T) {
	s := openStore(t, overlayfs)
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	load(t, s, dockerArchive(t, img, "a"))
	for _, c := range []struct {
		source, target string
		class          func(error) bool
	}{
		{"b", "c", errdefs.IsNotFound},
		{"a", "B", errdefs.IsInvalidArgument},
		{"a", "b@" + img.id().String(), errdefs.IsInvalidArgument},
		{"a", "", errdefs.IsInvalidArgument},
	} {
		if err := s.Tag(t.Context(), c.source, c.target); !c.class(err) {
			t.Errorf("%s as %s: %v", c.source, c.target, err)
		}
	}
}

func TestResolve(t *testing.T) {
	s := openStore(t, overlayfs)
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	id := img.id().Encoded()
	load(t, s, dockerArchive(t, img, "a", "registry.test:5000/b/c:1"))
	loaded, err := s.Resolve(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	target := loaded.Target.Digest.String()
	for _, ref := range []string{
		"a", "a:latest", "library/a", "docker.io/a", "docker.io/library/a:latest", "registry.test:5000/b/c:1",
		id, "sha256:" + id, id[:12], "sha256:" + id[:1], target, "a@" + target, "a:other@" + target,
	} {
		if got, err := s.Resolve(t.Context(), ref); err != nil || got.ID != img.id() {
			t.Errorf("%s: %v, %v", ref, got.ID, err)
		}
	}
	for ref, class := range map[string]func(error) bool{
		"a:1": errdefs.IsNotFound, "b": errdefs.IsNotFound, "b@" + target: errdefs.IsNotFound,
		"sha256:":     errdefs.IsInvalidArgument,
		"a@sha256:12": errdefs.IsInvalidArgument, "": errdefs.IsInvalidArgument, "A": errdefs.IsInvalidArgument,
		strings.Repeat("f", 64): errdefs.IsNotFound, id + "0": errdefs.IsNotFound,
	} {
		if _, err := s.Resolve(t.Context(), ref); !class(err) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestResolveAmbiguous(t *testing.T) {
	c := newCatalog(0)
	for _, hex := range []string{
		strings.Repeat("a", 64), "aab" + strings.Repeat("c", 61), "b" + strings.Repeat("0", 63),
	} {
		c.add(&record{image: &Image{ID: digest.NewDigestFromEncoded(digest.SHA256, hex)}})
	}
	c.finish()
	if _, err := c.find("aa"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("ambiguous: %v", err)
	}
	for _, ref := range []string{"aaa", "aab", "b", "sha256:b0"} {
		if _, err := c.find(ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := c.find("c"); !errdefs.IsNotFound(err) {
		t.Errorf("unknown: %v", err)
	}
}

func TestListFilters(t *testing.T) {
	s := openStore(t, overlayfs)
	one, two := makeImage(t, "", "1", makeTar(t, file{name: "x"})), makeImage(t, "", "2", makeTar(t, file{name: "x"}))
	load(t, s, dockerArchive(t, one, "a:1", "a:2", "b:1"))
	load(t, s, dockerArchive(t, two))
	no := false
	for name, c := range map[string]struct {
		o    ListOptions
		want []string
	}{
		"all":            {want: []string{"a:1 a:2 b:1", ""}},
		"reference":      {o: ListOptions{References: []string{"a"}}, want: []string{"a:1 a:2"}},
		"pattern":        {o: ListOptions{References: []string{"*:1"}}, want: []string{"a:1 b:1"}},
		"two references": {o: ListOptions{References: []string{"a:2", "b"}}, want: []string{"a:2 b:1"}},
		"label":          {o: ListOptions{Labels: []string{"tag=2"}}, want: []string{""}},
		"label key":      {o: ListOptions{Labels: []string{"tag"}}, want: []string{"a:1 a:2 b:1", ""}},
		"no such label":  {o: ListOptions{Labels: []string{"tag", "tag=3"}}},
		"not dangling":   {o: ListOptions{Dangling: &no}, want: []string{"a:1 a:2 b:1"}},
		"before":         {o: ListOptions{Before: "a:1"}},
		"since":          {o: ListOptions{Since: two.id().String()}},
	} {
		list, err := s.List(t.Context(), c.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, sum := range list {
			got = append(got, strings.Join(sum.RepoTags, " "))
			if sum.Size <= 0 || sum.Created != 1700000000 || sum.RepoTags == nil || sum.RepoDigests == nil {
				t.Errorf("%s: %+v", name, sum)
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if _, err := s.List(t.Context(), ListOptions{References: []string{"["}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad pattern: %v", err)
	}
	if _, err := s.List(t.Context(), ListOptions{Before: "zzz"}); !errdefs.IsNotFound(err) {
		t.Errorf("before an unknown image: %v", err)
	}
}

func TestInspectAndHistory(t *testing.T) {
	s := openStore(t, overlayfs)
	img := makeImage(t, "", "1", busyboxTree(t), makeTar(t, file{name: "x", data: []byte("x")}))
	load(t, s, dockerArchive(t, img, "a"))
	got, err := s.Inspect(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != img.id().String() || got.Os != "linux" || got.Size < 1<<20 || len(got.RootFS.Layers) != 2 ||
		got.Created != "2023-11-14T22:13:20Z" || !slices.Equal(got.RepoTags, []string{"a:latest"}) ||
		got.Config.Cmd[0] != "sh" {
		t.Errorf("inspected %+v", got)
	}
	history, err := s.History(t.Context(), "a")
	if err != nil || len(history) != 3 {
		t.Fatalf("history %+v, %v", history, err)
	}
	if history[0].CreatedBy != "CMD" || history[0].Size != 0 || history[0].ID != got.ID ||
		history[0].Tags[0] != "a:latest" {
		t.Errorf("newest entry %+v", history[0])
	}
	if history[2].ID != missingID || history[2].Size < 1<<20 || history[1].Size == 0 {
		t.Errorf("older entries %+v", history[1:])
	}
}

func TestSaveAndLoad(t *testing.T) {
	s, r := openStore(t, overlayfs), newRegistry(t)
	one := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	two := makeImage(t, "", "2", makeTar(t, file{name: "y"}))
	s390x := makeImage(t, "s390x", "1", makeTar(t, file{name: "x"}))
	load(t, s, dockerArchive(t, one, "a:1", "a:2"))
	ref := r.pushIndex(t, "many", "1", s390x, two)
	if err := s.Pull(t.Context(), ref, PullOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(t.Context(), ref, "many:1"); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if _, err := s.Save(t.Context(), []string{"a:1", "many:1", one.id().String(), "a:2"}, &archive); err != nil {
		t.Fatal(err)
	}
	other := openStore(t, overlayfs)
	load(t, other, archive.Bytes())
	for name, img := range map[string]*testImage{"a:1": one, "a:2": one, "many:1": two} {
		if got, err := other.Resolve(t.Context(), name); err != nil || got.ID != img.id() {
			t.Errorf("%s: %v, %v", name, got.ID, err)
		}
	}
	// A name without a tag is all its tags.
	archive.Reset()
	if saved, err := s.Save(t.Context(), []string{"a"}, &archive); err != nil || len(saved) != 2 {
		t.Fatalf("%d images, %v", len(saved), err)
	}
	other = openStore(t, overlayfs)
	load(t, other, archive.Bytes())
	for _, name := range []string{"a:1", "a:2"} {
		if got, err := other.Resolve(t.Context(), name); err != nil || got.ID != one.id() {
			t.Errorf("%s: %v, %v", name, got.ID, err)
		}
	}
	archive.Reset()
	if _, err := s.Save(t.Context(), []string{"a:1", "zzz"}, &archive); !errdefs.IsNotFound(err) || archive.Len() != 0 {
		t.Errorf("unknown image: %v, %d bytes", err, archive.Len())
	}
}
