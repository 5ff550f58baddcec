package images

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
)

// TestView has a container see two images, of one and of several layers, also after their removal.
func TestView(t *testing.T) {
	for _, snapshotter := range snapshotters {
		t.Run(snapshotter, func(t *testing.T) {
			s := openStore(t, snapshotter)
			for n, img := range []*testImage{
				makeImage(t, "", "1", makeTar(t, file{name: "x", data: []byte("one")})),
				makeImage(t, "", "2", makeTar(t, file{name: "y"}), makeTar(t, file{name: "x", data: []byte("two")})),
			} {
				load(t, s, dockerArchive(t, img, fmt.Sprintf("image%d", n)))
				got, err := s.Resolve(t.Context(), img.id().String())
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // the second call finds the view
					if err := s.PrepareView(t.Context(), "c", n, got.ID.String()); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := s.Remove(t.Context(), got.ID.String(), RemoveOptions{Force: true}); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
			for n, want := range []string{"one", "two"} {
				checkView(t, s, n, want)
			}
			if err := s.RemoveRootfs(t.Context(), "c"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.ViewMounts(t.Context(), "c", 0); !errdefs.IsNotFound(err) {
				t.Errorf("a view of a removed container: %v", err)
			}
			requireEmpty(t, s)
		})
	}
}

// checkView mounts a view, and looks at its file x, which cannot be changed.
func checkView(t *testing.T, s *Store, n int, want string) {
	t.Helper()
	mounts, err := s.ViewMounts(t.Context(), "c", n)
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	if err := mount.All(mounts, at); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.UnmountAll(at, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(at, "x")
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("view %d: %q, %v", n, text, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err == nil {
		t.Errorf("view %d can be written", n)
	}
}

// TestViewRemovalCutOff has a removal that ended after one of three views.
func TestViewRemovalCutOff(t *testing.T) {
	s := openStore(t, "")
	img := makeImage(t, "", "1", makeTar(t, file{name: "x"}))
	load(t, s, dockerArchive(t, img, "box"))
	got, err := s.Resolve(t.Context(), "box")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := s.PrepareView(t.Context(), "c", n, got.ID.String()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.snapshots.Remove(s.scope(t.Context()), "view-2-of-container-c"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveRootfs(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), got.ID.String(), RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	requireEmpty(t, s)
}

func TestViewOfRemovedImage(t *testing.T) {
	s := openStore(t, "")
	id := makeImage(t, "", "1", makeTar(t, file{name: "x"})).id().String()
	if err := s.PrepareView(t.Context(), "c", 0, id); !errdefs.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	if err := s.PrepareView(t.Context(), "a/b", 0, id); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%v", err)
	}
}
