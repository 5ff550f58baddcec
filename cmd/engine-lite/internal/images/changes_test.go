package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
)

// withRoot calls fn with the directory at which a root file system is mounted.
func withRoot(t testing.TB, mounts []mount.Mount, fn func(root string)) {
	t.Helper()
	err := mount.WithTempMount(t.Context(), mounts, func(root string) error { fn(root); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

// write writes a file of a container.
func write(t testing.TB, root, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// noMounts fails if anything is mounted below a store's root.
func noMounts(t testing.TB, s *Store) {
	t.Helper()
	left, err := mountinfo.GetMounts(mountinfo.PrefixFilter(s.root))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is mounted, %v", left, err)
	}
}

func exported(t testing.TB, s *Store, id string) []string {
	t.Helper()
	var data bytes.Buffer
	if err := s.Export(t.Context(), id, &data); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&data); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

func TestChangesAndExport(t *testing.T) {
	below := makeTar(t, file{name: "a/"}, file{name: "a/1", data: []byte("1")}, file{name: "b", data: []byte("b")})
	above := makeTar(t, file{name: "a/.wh.1"}, file{name: "a/2", data: []byte("2")}, file{name: "c", data: []byte("c")})
	for _, snapshotter := range snapshotters {
		for name, c := range map[string]struct {
			layers           [][]byte
			change           func(root string)
			changes, archive string
		}{
			"no layer": {nil, func(root string) { write(t, root, "new", "x") }, "1 /new", "new"},
			"one layer": {[][]byte{below}, func(root string) {
				write(t, root, "a/1", "one")
				_ = os.Remove(root + "/b")
			}, "0 /a|0 /a/1|2 /b", "a/|a/1"},
			"two layers": {[][]byte{below, above}, func(root string) {
				write(t, root, "a/1", "new")
				_ = os.RemoveAll(root + "/c")
				_ = os.Mkdir(root+"/proc", 0o755)
			}, "0 /a|1 /a/1|2 /c", "a/|a/1|a/2|b|proc/"},
			"nothing": {[][]byte{below, above}, func(string) {}, "", "a/|a/2|b|c"},
		} {
			t.Run(snapshotter+" "+name, func(t *testing.T) {
				s := openStore(t, snapshotter)
				load(t, s, dockerArchive(t, makeImage(t, "", name, c.layers...), "i"))
				img, err := s.Resolve(t.Context(), "i")
				if err != nil {
					t.Fatal(err)
				}
				mounts, err := s.PrepareRootfs(t.Context(), "c", img)
				if err != nil {
					t.Fatal(err)
				}
				withRoot(t, mounts, c.change)
				list, err := s.Changes(t.Context(), "c")
				if err != nil {
					t.Fatal(err)
				}
				var lines []string
				for _, change := range list {
					lines = append(lines, fmt.Sprintf("%d %s", change.Kind, change.Path))
				}
				if got := strings.Join(lines, "|"); got != c.changes {
					t.Errorf("changes: %s, want %s", got, c.changes)
				}
				if got := strings.Join(exported(t, s, "c"), "|"); got != c.archive {
					t.Errorf("archive: %s, want %s", got, c.archive)
				}
				noMounts(t, s)
				if blobs, ingests, snaps := leftovers(t, s); ingests != 0 || snaps != len(c.layers)+1 {
					t.Errorf("%d blobs, %d unfinished, %d snapshots", blobs, ingests, snaps)
				}
			})
		}
	}
}

// TestExportEnds checks that nothing goes on, and nothing stays, where the client of an archive is gone.
func TestExportEnds(t *testing.T) {
	s := openStore(t, overlayfs)
	if err := s.Export(t.Context(), "nobody", io.Discard); !errdefs.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	if _, err := s.Changes(t.Context(), "nobody"); !errdefs.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	tree := makeTar(t, file{name: "a", data: bytes.Repeat([]byte("a"), 1<<20)}, file{name: "b"})
	load(t, s, dockerArchive(t, makeImage(t, "", "x", tree, makeTar(t, file{name: "c"})), "i"))
	img, err := s.Resolve(t.Context(), "i")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PrepareRootfs(t.Context(), "c", img); err != nil {
		t.Fatal(err)
	}
	files := fewestOpenFiles(t, 0, 100*time.Millisecond)
	gone := errors.New("the client is gone")
	if err := s.Export(t.Context(), "c", failing{after: 1 << 16, err: gone}.writer()); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := s.Export(ctx, "c", io.Discard); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	if now := fewestOpenFiles(t, files, 10*time.Second); now > files {
		t.Errorf("%d open files, %d before", now, files)
	}
	noMounts(t, s)
}

// failing is a writer that fails after some bytes.
type failing struct {
	after int
	err   error
}

func (f failing) writer() io.Writer { return &f }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, f.err
	}
	return len(p), nil
}
