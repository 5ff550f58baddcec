package imagemounts

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources/resourcestest"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// oneImage has one image, and shows a directory as each view of it.
type oneImage struct {
	dir   string
	views map[string]int
}

func (o *oneImage) PrepareView(_ context.Context, containerID string, n int, imageID string) error {
	if imageID != "sha256:1" {
		return classed.Errorf(errdefs.ErrNotFound, "no image %s", imageID)
	}
	o.views[containerID] = n + 1
	return nil
}

func (o *oneImage) ViewMounts(_ context.Context, containerID string, n int) ([]mount.Mount, error) {
	if n >= o.views[containerID] {
		return nil, classed.Errorf(errdefs.ErrNotFound, "no view %d of %s", n, containerID)
	}
	return []mount.Mount{{Type: "bind", Source: o.dir, Options: []string{"rbind", "ro"}}}, nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fixture is an engine's mounts of images. The image has the file x, the directory d with the file y, and a link that
// leads out.
type fixture struct {
	*testing.T
	images *oneImage
	dir    string
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t, &oneImage{t.TempDir(), map[string]int{}}, t.TempDir()}
	must(t, os.Mkdir(filepath.Join(f.images.dir, "d"), 0o755))
	for _, name := range []string{"x", "d/y"} {
		must(t, os.WriteFile(filepath.Join(f.images.dir, name), []byte(name), 0o600))
	}
	must(t, os.Symlink("../../../../etc", filepath.Join(f.images.dir, "out")))
	t.Cleanup(func() {
		left := f.held()
		must(t, mountpoints.DetachBelow(f.dir))
		if len(left) > 0 {
			t.Errorf("mounted in the end: %v", left)
		}
	})
	return f
}

func (f *fixture) open() *Mounts {
	f.Helper()
	m, err := Open(f.images, filepath.Join(f.dir, "places"))
	must(f.T, err)
	return m
}

// held counts by holder what is mounted.
func (f *fixture) held() map[string]int {
	f.Helper()
	list, err := mountinfo.GetMounts(mountinfo.PrefixFilter(f.dir))
	must(f.T, err)
	n := map[string]int{}
	for _, m := range list {
		n[filepath.Base(filepath.Dir(m.Mountpoint))]++
	}
	return n
}

// create makes a container with these parts of the image, at /0, /1 and so on. A volume is between them.
func (f *fixture) create(name string, parts ...string) *record.Record {
	f.Helper()
	r := &record.Record{ID: name}
	for n, part := range parts {
		r.Mounts = append(r.Mounts, record.Mount{Type: record.MountVolume, Name: "v", Destination: "/v"}, record.Mount{
			Type: record.MountImage, Name: "box", Source: "sha256:1", Subpath: part, Destination: "/" + string(rune('0'+n)),
		})
	}
	must(f.T, f.open().Prepare(f.Context(), r))
	return r
}

func TestContract(t *testing.T) {
	resourcestest.Run(t, func(t *testing.T) resourcestest.Harness {
		f := newFixture(t)
		return resourcestest.Harness{
			Open:    func(*testing.T) resources.Provider { return f.open() },
			Record:  func(_ *testing.T, name string) *record.Record { return f.create(name, "", "d") },
			Refused: func(*testing.T) *record.Record { return f.create("refused", "", "missing") },
			Held:    func(*testing.T) map[string]int { return f.held() },
		}
	})
}

func TestParts(t *testing.T) {
	f := newFixture(t)
	m, r, h := f.open(), f.create("a", "", "d", "d/y"), resources.Run("a", 1)
	c, err := m.Acquire(t.Context(), r, h)
	must(t, err)
	for at, want := range map[string]string{c.Sources["/0"] + "/x": "x", c.Sources["/1"] + "/y": "d/y", c.Sources["/2"]: "d/y"} {
		if text, err := os.ReadFile(at); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", at, text, err)
		}
	}
	if err := os.WriteFile(c.Sources["/0"]+"/x", nil, 0o600); err == nil {
		t.Error("an image can be written")
	}
	must(t, m.Free(t.Context(), h))
	must(t, m.Dispose(t.Context(), h))
	for part, want := range map[string]string{"out": "escapes the base directory", "missing": "cannot access path", "x/y": "cannot access path"} {
		if _, err := m.Acquire(t.Context(), f.create("b", part), resources.Run("b", 1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", part, err)
		}
	}
}

func TestPrepare(t *testing.T) {
	f := newFixture(t)
	if f.create("a", "", ""); f.images.views["a"] != 2 {
		t.Errorf("views: %v", f.images.views)
	}
	gone := &record.Record{ID: "b", Mounts: []record.Mount{{Type: record.MountImage, Source: "sha256:2", Destination: "/x"}}}
	if err := f.open().Prepare(t.Context(), gone); !errdefs.IsNotFound(err) {
		t.Errorf("an image that is gone: %v", err)
	}
}
