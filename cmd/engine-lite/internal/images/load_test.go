package images

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
)

// readMounted mounts a root file system and reads a file in it.
func readMounted(t *testing.T, mounts []mount.Mount, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := mount.All(mounts, dir); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.UnmountAll(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLoadPrepareRemove(t *testing.T) {
	img := makeImage(t, "", "1", busyboxTree(t), makeTar(t, file{name: "etc/motd", data: []byte("second\n")}))
	other := makeImage(t, "s390x", "1", makeTar(t, file{name: "x"}))
	archives := map[string][]byte{
		"docker archive": dockerArchive(t, img, "busybox:latest"),
		"gzip":           gzipped(t, dockerArchive(t, img, "busybox:latest")),
		"oci layout":     ociLayout(t, "docker.io/library/busybox:latest", other, img),
	}
	for _, snapshotter := range snapshotters {
		for name, archive := range archives {
			t.Run(snapshotter+" "+name, func(t *testing.T) {
				s := openStore(t, snapshotter)
				for range 2 {
					loaded := load(t, s, archive)
					if len(loaded) != 1 || loaded[0].ID != img.id() ||
						!slices.Equal(loaded[0].Names, []string{"busybox:latest"}) {
						t.Fatalf("loaded %+v", loaded)
					}
				}
				useRootfs(t, s, img)
				gone, err := s.Remove(t.Context(), "busybox", RemoveOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if len(gone) != 2 || gone[0].Untagged != "busybox:latest" || gone[1].Deleted != img.id().String() {
					t.Errorf("removed %+v", gone)
				}
				requireEmpty(t, s)
			})
		}
	}
}

// useRootfs prepares a root file system twice, reads and removes it twice.
func useRootfs(t *testing.T, s *Store, want *testImage) {
	t.Helper()
	ctx := t.Context()
	got, err := s.Resolve(ctx, "busybox")
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != want.id() || !slices.Equal(got.Config.Config.Cmd, []string{"sh"}) {
		t.Errorf("resolved %+v", got)
	}
	first, err := s.PrepareRootfs(ctx, "c1", got)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.PrepareRootfs(ctx, "c1", got)
	same := func(a, b mount.Mount) bool { return a.Source == b.Source && slices.Equal(a.Options, b.Options) }
	if err != nil || !slices.EqualFunc(first, again, same) {
		t.Errorf("prepared %v, then %v, %v", first, again, err)
	}
	if text := readMounted(t, first, "etc/motd"); text != "second\n" {
		t.Errorf("motd is %q", text)
	}
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mounts(ctx, "c1"); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := s.RemoveRootfs(ctx, "c1"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Mounts(ctx, "c1"); !errdefs.IsNotFound(err) {
		t.Errorf("mounts after removal: %v", err)
	}
}

func TestRootfsOutlivesImage(t *testing.T) {
	s := openStore(t, overlayfs)
	ctx := t.Context()
	load(t, s, dockerArchive(t, makeImage(t, "", "1", busyboxTree(t)), "a"))
	img, err := s.Resolve(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PrepareRootfs(ctx, "c1", img); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, "a", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if blobs, _, snaps := leftovers(t, s); blobs != 0 || snaps != 2 {
		t.Errorf("%d blobs and %d snapshots are left", blobs, snaps)
	}
	mounts, err := s.Mounts(ctx, "c1")
	if err != nil {
		t.Fatal(err)
	}
	if text := readMounted(t, mounts, "etc/motd"); text != "hello\n" {
		t.Errorf("motd is %q", text)
	}
	if n, all, err := s.Usage(ctx, "c1"); err != nil || n <= 0 || all < 1<<20 {
		t.Errorf("usage %d of %d, %v", n, all, err)
	}
	if err := s.RemoveRootfs(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	requireEmpty(t, s)
	if _, err := s.PrepareRootfs(ctx, "c2", img); !errdefs.IsNotFound(err) {
		t.Errorf("preparing a removed image: %v", err)
	}
	requireEmpty(t, s)
}

func TestPrepareUnpacksOnce(t *testing.T) {
	s := openStore(t, overlayfs)
	ctx := t.Context()
	load(t, s, dockerArchive(t, makeImage(t, "", "1", busyboxTree(t)), "a"))
	img, err := s.Resolve(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.snapshots.Remove(s.scope(ctx), img.ChainID.String()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, id := range []string{"c1", "c2", "c3", "c1"} {
		wg.Go(func() {
			if _, err := s.PrepareRootfs(ctx, id, img); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, _, snaps := leftovers(t, s); snaps != 4 {
		t.Errorf("%d snapshots for a layer and three containers", snaps)
	}
}

func TestLoadRefusesGarbage(t *testing.T) {
	good := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	whole := dockerArchive(t, good, "a")
	s390x := makeImage(t, "s390x", "1", makeTar(t, file{name: "x"}))
	lying := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	lying.layers[0] = gzipped(t, makeTar(t, file{name: "y"}))
	noLayer := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	noLayer.layers = nil
	for name, archive := range map[string][]byte{
		"empty":         {},
		"text":          []byte("this is not a tar, whatever its name says"),
		"truncated":     whole[:len(whole)/2],
		"no manifest":   makeTar(t, file{name: "a", data: []byte("b")}),
		"bad manifest":  makeTar(t, file{name: "manifest.json", data: []byte("{")}),
		"bad gzip":      append([]byte{0x1f, 0x8b, 8}, "garbage that is no deflate stream"...),
		"wrong layer":   dockerArchive(t, lying, "a"),
		"other machine": dockerArchive(t, s390x, "a"),
		"missing layer": ociLayout(t, "a:latest", noLayer),
		"bad oci index": makeTar(t, file{name: "oci-layout", data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
			file{name: "index.json", data: []byte("[]")}),
		"bad digest": makeTar(t, file{name: "oci-layout", data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
			file{name: "index.json",
				data: []byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"../../etc","size":1}]}`)}),
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, overlayfs)
			if _, err := s.Load(t.Context(), bytes.NewReader(archive)); !errdefs.IsInvalidArgument(err) {
				t.Errorf("got %v", err)
			}
			requireEmpty(t, s)
		})
	}
}

func TestLoadUntaggedAndReplaced(t *testing.T) {
	s := openStore(t, overlayfs)
	ctx := t.Context()
	one, two := makeImage(t, "", "1", makeTar(t, file{name: "x"})), makeImage(t, "", "2", makeTar(t, file{name: "x"}))
	load(t, s, dockerArchive(t, one))
	if img, err := s.Resolve(ctx, one.id().Encoded()[:12]); err != nil || len(img.Names) != 0 {
		t.Errorf("untagged image: %+v, %v", img, err)
	}
	load(t, s, dockerArchive(t, one, "a", "b:1"))
	load(t, s, dockerArchive(t, two, "a", "b:1"))
	old, err := s.Resolve(ctx, one.id().String())
	if err != nil || len(old.Names) != 0 || len(old.Digests) != 0 {
		t.Errorf("replaced image: %+v, %v", old, err)
	}
	dangling := true
	list, err := s.List(ctx, ListOptions{Dangling: &dangling})
	if err != nil || len(list) != 1 || list[0].ID != one.id().String() {
		t.Errorf("dangling: %+v, %v", list, err)
	}
	gone, err := s.Remove(ctx, one.id().Encoded()[:7], RemoveOptions{})
	if err != nil || len(gone) != 1 || gone[0].Deleted != one.id().String() {
		t.Errorf("removed %+v, %v", gone, err)
	}
	if err := s.Tag(ctx, "b:1", "b:2"); err != nil {
		t.Fatal(err)
	}
	if img, err := s.Resolve(ctx, "b:2"); err != nil || !slices.Equal(img.Names, []string{"a:latest", "b:1", "b:2"}) {
		t.Errorf("tagged: %v, %v", img.Names, err)
	}
}

func TestLoadCancelled(t *testing.T) {
	s := openStore(t, overlayfs)
	ctx, cancel := context.WithCancelCause(t.Context())
	gaveUp := errors.New("gave up")
	archive := dockerArchive(t, makeImage(t, "", "1", busyboxTree(t)), "a")
	r := io.MultiReader(bytes.NewReader(archive[:1<<20]), readerFunc(func(p []byte) (int, error) {
		cancel(gaveUp)
		return 0, io.ErrUnexpectedEOF
	}))
	if _, err := s.Load(ctx, r); !errors.Is(err, gaveUp) {
		t.Errorf("got %v", err)
	}
	requireEmpty(t, s)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReopen(t *testing.T) {
	root := t.TempDir()
	s, err := Open(t.Context(), root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	load(t, s, dockerArchive(t, img, "a"))
	if _, _, err := s.hold(t.Context()); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), root, Options{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(t.Context(), root, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := s.Resolve(t.Context(), "a"); err != nil || got.ID != img.id() {
		t.Errorf("after reopening: %+v, %v", got, err)
	}
	held, err := s.leases.List(s.scope(t.Context()))
	if err != nil || len(held) != 0 {
		t.Errorf("leases after reopening: %v, %v", held, err)
	}
	if _, err := Open(t.Context(), t.TempDir(), Options{Snapshotter: "btrfs"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown snapshotter: %v", err)
	}
}
