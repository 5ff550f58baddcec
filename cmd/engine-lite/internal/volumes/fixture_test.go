package volumes

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// engine is what an engine has around its volumes.
type engine struct {
	*testing.T
	store *store.Store
	root  string
	*Local
	api *Volumes
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// memory is a directory in memory, for tests that write much.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "volumes")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	return newEngineIn(t, t.TempDir())
}

// newEngineIn has an empty journal. At the test's end, nothing is mounted below its directory.
func newEngineIn(t *testing.T, dir string) *engine {
	t.Helper()
	path := filepath.Join(dir, "journal.db")
	j, err := journal.Open(path, journal.Options{Format: store.Format, Reserve: -1})
	must(t, err)
	s, err := store.Open(t.Context(), j, path, slices.Concat(record.Kinds(), Kinds())...)
	must(t, err)
	e := &engine{T: t, store: s, root: filepath.Join(dir, "volumes")}
	t.Cleanup(func() {
		left := e.mounts()
		must(t, mountpoints.DetachBelow(dir))
		if len(left) > 0 {
			t.Errorf("mounted in the end: %q", left)
		}
		must(t, s.Close())
	})
	e.open()
	return e
}

// open begins the next engine, which knows only what is on the disk and in the kernel.
func (e *engine) open() {
	e.Helper()
	var err error
	e.Local, err = Open(context.WithoutCancel(e.Context()), e.store, e.root)
	must(e.T, err)
	e.api = New(e.Local)
}

// mounts are the mount points below the directory of volumes, relative to it.
func (e *engine) mounts() (at []string) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	must(e.T, err)
	for line := range strings.Lines(string(raw)) {
		if path, ok := strings.CutPrefix(strings.Fields(line)[4], e.root+"/"); ok {
			at = append(at, path)
		}
	}
	slices.Sort(at)
	return at
}

// create makes a container as the engine does: with Reserve in the transaction of its record.
func (e *engine) create(id string, mounts ...record.Mount) *record.Record {
	e.Helper()
	r, err := e.tryCreate(id, mounts...)
	must(e.T, err)
	return r
}

func (e *engine) tryCreate(id string, mounts ...record.Mount) (*record.Record, error) {
	r := &record.Record{
		ID: id, Name: id, Version: 1, Config: &record.Config{}, HostConfig: &record.HostConfig{},
		Status: record.StatusCreated,
		Mounts: mounts,
	}
	return r, e.store.Update(e.Context(), func(tx *store.Tx) error {
		if err := e.Reserve(tx, r); err != nil {
			return err
		}
		return r.Put(tx)
	})
}

// remove removes a container as the engine does.
func (e *engine) remove(r *record.Record, volumes bool) {
	e.Helper()
	e.forget(r, volumes)
	must(e.T, e.Forgotten(e.Context(), r))
}

func (e *engine) forget(r *record.Record, volumes bool) {
	e.Helper()
	r.RemoveVolumes = volumes
	must(e.T, e.store.Update(e.Context(), func(tx *store.Tx) error {
		record.Containers.Delete(tx, r.ID)
		return e.Forget(tx, r)
	}))
}

func (e *engine) acquire(r *record.Record, h resources.Holder) resources.Contribution {
	e.Helper()
	c, err := e.Acquire(e.Context(), r, h)
	must(e.T, err)
	return c
}

// add makes a volume.
func (e *engine) add(name string, options map[string]string) {
	e.Helper()
	_, err := e.Local.create(e.Context(), Volume{Name: name, Options: options})
	must(e.T, err)
}

// events are those of volumes, oldest first.
func (e *engine) events() (all []string) {
	e.Helper()
	for c := e.store.Cursor(0); ; {
		ev, ok, err := c.Poll()
		must(e.T, err)
		if !ok {
			return all
		}
		all = append(all, strings.TrimSpace(ev.Action+" "+ev.ID))
	}
}

func (e *engine) exists(name string) bool {
	e.Helper()
	_, found, err := e.find(name)
	must(e.T, err)
	return found
}

// content is what a directory has, by path: the content of a file, or what else it is.
func content(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		all[rel] = d.Type().String()
		if d.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			all[rel] = string(raw[:min(len(raw), 20)])
			return err
		}
		return nil
	}))
	return all
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// vol is a mount of a volume.
func vol(name, destination string) record.Mount {
	return record.Mount{Type: record.MountVolume, Name: name, Driver: "local", Destination: destination, CopyUp: true}
}

// bindOf are mounts of a root filesystem that is a directory of the host.
func bindOf(dir string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: dir, Options: []string{"rbind", "ro"}}}
}

// killedAt runs fn with an engine that is killed after a step for the nth time: nothing after the step is done, no
// deferred function is run, and no lock is released. It returns false where fn ends before.
func (e *engine) killedAt(step string, nth int, fn func(l *Local)) bool {
	e.Helper()
	l, err := Open(context.WithoutCancel(e.Context()), e.store, e.root)
	must(e.T, err)
	killed, ended := make(chan struct{}), make(chan struct{})
	l.step = func(name string) {
		if name != step {
			return
		}
		if nth--; nth == 0 {
			close(killed)
			select {} // for ever, as far as this engine is concerned
		}
	}
	go func() {
		defer close(ended)
		fn(l)
	}()
	select {
	case <-killed:
		e.open()
		return true
	case <-ended:
		return false
	case <-time.After(10 * time.Second):
		e.Fatalf("%s: neither killed nor ended", step)
		return false
	}
}

// sweep is what the next engine does before it serves.
func (e *engine) sweep(holders ...resources.Holder) {
	e.Helper()
	must(e.T, e.Sweep(context.WithoutCancel(e.Context()), func(h resources.Holder) bool { return slices.Contains(holders, h) }))
	must(e.T, e.Clean())
}

// sourceOf is the path of the volume of a container's first mount.
func sourceOf(c resources.Contribution) string {
	return c.Sources[slices.Min(slices.Collect(maps.Keys(c.Sources)))]
}
