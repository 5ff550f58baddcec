package volumes

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// TestKilledInRemove kills the engine after each step of a removal: the volume is gone, and a new one of its name is
// empty, whether the next engine has swept before or not.
func TestKilledInRemove(t *testing.T) {
	for _, swept := range []bool{true, false} {
		for _, forget := range []bool{true, false} {
			e := newEngineIn(t, memory(t))
			for _, step := range []string{"remove: record", "remove: renamed", "remove: settled", ""} {
				m := vol("web", "/x")
				m.Anonymous = forget
				r := e.create("c1", m)
				c := e.acquire(r, run(1))
				write(t, filepath.Join(sourceOf(c), "old"), "x")
				killed := e.killedAt(step, 1, func(l *Local) {
					e.forget(r, forget)
					l.did("remove: record")
					if forget {
						must(t, l.Forgotten(t.Context(), r))
					} else {
						must(t, l.remove(t.Context(), "web"))
					}
				})
				if !killed && step != "" {
					t.Errorf("%s: not reached", step)
				}
				if swept {
					e.sweep()
				}
				if !forget && step == "remove: record" && e.exists("web") {
					must(t, e.api.VolumeRemove(t.Context(), "web", false)) // killed before the first step
				}
				next := e.create("c2", vol("web", "/x"))
				c = e.acquire(next, run(2))
				if got := content(t, sourceOf(c)); len(got) > 0 {
					t.Errorf("%s: the new volume has %v", step, got)
				}
				write(t, filepath.Join(sourceOf(c), "new"), "x")
				e.sweep(run(2))
				if got := content(t, e.root); got["web/_data/new"] != "x" || len(got) != 6 {
					t.Errorf("%s: %v", step, got)
				}
				e.remove(next, false)
				must(t, e.api.VolumeRemove(t.Context(), "web", false))
				if got := content(t, e.root); len(got) != 3 {
					t.Errorf("%s: %v", step, got)
				}
			}
		}
	}
}

// TestKilledInCreate kills the engine after each step of a creation. The volume is there, and can be used and removed.
func TestKilledInCreate(t *testing.T) {
	e := newEngineIn(t, memory(t))
	for _, step := range []string{"create: record", "create: directory"} {
		if !e.killedAt(step, 1, func(l *Local) { _, _ = l.create(t.Context(), Volume{Name: "web"}) }) {
			t.Errorf("%s: not reached", step)
		}
		e.sweep()
		if size, err := e.size(t.Context(), "web"); err != nil || size != 0 {
			t.Errorf("%d %v", size, err)
		}
		r := e.create("c1", vol("web", "/x"))
		c := e.acquire(r, run(1))
		if info, err := os.Stat(sourceOf(c)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v %v", step, info, err)
		}
		e.remove(r, false)
		must(t, e.api.VolumeRemove(t.Context(), "web", false))
	}
}

// TestKilledInAcquire kills the engine after each step of a start that mounts: the next engine unmounts.
func TestKilledInAcquire(t *testing.T) {
	e := newEngineIn(t, memory(t))
	e.add("ram", map[string]string{"type": "tmpfs", "device": "tmpfs"})
	e.add("web", nil)
	must(t, os.Mkdir(filepath.Join(e.data("web"), "part"), 0o755))
	m := vol("web", "/x")
	m.Subpath = "part"
	r := e.create("c1", vol("ram", "/r"), m)
	for i, step := range []string{"acquire: mounted", "acquire: place", "acquire: bound"} {
		h := run(uint64(i + 1))
		if !e.killedAt(step, 1, func(l *Local) { _, _ = l.Acquire(t.Context(), r, h) }) {
			t.Errorf("%s: not reached", step)
		}
		e.sweep()
		if got := e.mounts(); len(got) > 0 || len(e.entries(mountsDir)) > 0 {
			t.Errorf("%s: %q", step, got)
		}
	}
}

// TestForeignDirectory leaves a directory alone that the engine has not made, and takes it over for a volume.
func TestForeignDirectory(t *testing.T) {
	e := newEngineIn(t, memory(t))
	write(t, filepath.Join(e.data("restored"), "file"), "x")
	write(t, filepath.Join(e.root, mountsDir, "nobody's", "file"), "x")
	e.sweep()
	c := e.acquire(e.create("c1", record.Mount{Type: record.MountVolume, Name: "restored", Destination: "/x"}), run(1))
	if got := content(t, sourceOf(c)); got["file"] != "x" {
		t.Errorf("%v", got)
	}
	if got := content(t, filepath.Join(e.root, mountsDir)); got["nobody's/file"] != "x" {
		t.Errorf("%v", got)
	}
}
