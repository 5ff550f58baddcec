package volumes

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// run is a run of the container c1.
func run(generation uint64) resources.Holder { return resources.Run("c1", generation) }

// TestMountedOnce mounts a file system for the first holder and unmounts it after the last one. A run that is freed
// late takes nothing from the next one.
func TestMountedOnce(t *testing.T) {
	e := newEngine(t)
	e.add("ram", map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,nosuid"})
	e.add("none", map[string]string{"type": "tmpfs", "device": "none"})
	none := e.create("c2", vol("none", "/a"))
	e.acquire(none, resources.Run("c2", 1))
	if got := e.mounts(); !slices.Equal(got, []string{"none/_data"}) {
		t.Errorf("mounts: %q", got)
	}
	must(t, e.Free(t.Context(), resources.Run("c2", 1)))
	r := e.create("c1", vol("ram", "/a"), vol("plain", "/b"))
	lease := resources.Holder{Container: "c1", Lease: "cp"}
	c := e.acquire(r, run(1))
	write(t, filepath.Join(sourceOf(c), "file"), "x")
	if want := map[string]string{"/a": e.data("ram"), "/b": e.data("plain")}; !maps.Equal(c.Sources, want) {
		t.Errorf("%v, not %v", c.Sources, want)
	}
	e.acquire(r, lease)
	must(t, e.Free(t.Context(), run(1)))
	e.acquire(r, run(2))
	must(t, e.Free(t.Context(), lease))
	must(t, e.Free(t.Context(), run(1)))
	if got := e.mounts(); !slices.Equal(got, []string{"ram/_data"}) || content(t, e.data("ram"))["file"] != "x" {
		t.Errorf("mounts: %q", got)
	}
	e.open() // the next engine
	must(t, e.Adopt(t.Context(), r, run(2)))
	e.sweep(run(2))
	if got := e.mounts(); !slices.Equal(got, []string{"ram/_data"}) {
		t.Errorf("mounts of a run that goes on: %q", got)
	}
	must(t, e.Free(t.Context(), run(2)))
	must(t, e.Dispose(t.Context(), run(2)))
	if got := e.mounts(); len(got) > 0 {
		t.Errorf("mounts: %q", got)
	}
	e.acquire(r, run(3))
	e.open()
	e.sweep()
	if got := e.mounts(); len(got) > 0 {
		t.Errorf("mounts of a run that is gone: %q", got)
	}
}

// TestEvents has mount and unmount with Docker's attributes.
func TestEvents(t *testing.T) {
	e := newEngine(t)
	m := vol("web", "/a")
	m.ReadOnly = true
	r := e.create("c1", m, record.Mount{Type: record.MountBind, Source: "/", Destination: "/b"})
	must(t, e.store.Update(t.Context(), func(tx *store.Tx) error {
		must(t, e.Started(tx, r))
		return e.Ended(tx, r)
	}))
	if got := e.events(); !slices.Equal(got, []string{"create web", "mount web", "unmount web"}) {
		t.Errorf("%q", got)
	}
	cursor := e.store.Cursor(1)
	ev, _, err := cursor.Poll()
	must(t, err)
	if a := ev.Attributes; a["read/write"] != "false" || a["destination"] != "/a" || a["driver"] != "local" ||
		a["container"] != "c1" {
		t.Errorf("%v", a)
	}
}

// TestRealMounts mounts what the driver's options can name on this host: a tmpfs, a directory, and ext4.
func TestRealMounts(t *testing.T) {
	e := newEngine(t)
	source := t.TempDir()
	write(t, filepath.Join(source, "file"), "of the host")
	must(t, unix.Mount("tmpfs", source, "tmpfs", 0, "")) // a mount of its own, shared, with another one below
	t.Cleanup(func() { must(t, mountpoints.DetachBelow(source)) })
	must(t, unix.Mount("", source, "", unix.MS_SHARED, ""))
	below := filepath.Join(source, "below")
	must(t, os.Mkdir(below, 0o755))
	must(t, unix.Mount("tmpfs", below, "tmpfs", 0, ""))
	write(t, filepath.Join(below, "file"), "below")
	e.add("bind", map[string]string{"type": "none", "device": source, "o": "rbind"})
	e.add("gone", map[string]string{"type": "none", "device": source + "/none", "o": "bind,password=secret"})
	mounts := []record.Mount{vol("bind", "/a")}
	if device := ext4(t); device != "" {
		e.add("disk", map[string]string{"type": "ext4", "device": device})
		mounts = append(mounts, vol("disk", "/b"))
	}
	r := e.create("c1", mounts...)
	for generation := range uint64(2) {
		c := e.acquire(r, run(generation+1))
		if got := content(t, sourceOf(c)); got["below/file"] != "below" {
			t.Errorf("%v", got)
		}
		if disk := c.Sources["/b"]; disk != "" {
			if got := content(t, disk); generation == 1 && got["kept"] != "x" || got["lost+found"] == "" {
				t.Errorf("%v", got)
			}
			write(t, filepath.Join(disk, "kept"), "x")
		}
		must(t, e.Free(t.Context(), run(generation+1)))
		if got := content(t, source); got["below/file"] != "below" {
			t.Errorf("the host has lost its own mount: %v", got)
		}
	}
	gone := e.create("c2", vol("plain", "/p"), vol("bind", "/a"), vol("gone", "/b"))
	_, err := e.Acquire(t.Context(), gone, resources.Run("c2", 1))
	if err == nil ||
		!strings.HasPrefix(err.Error(),
			"error while mounting volume '"+e.data("gone")+"': failed to mount local volume: mount "+source+"/none:") ||
		!strings.HasSuffix(err.Error(), "no such file or directory") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if got := e.mounts(); len(got) > 0 {
		t.Errorf("mounts after a failure: %q", got)
	}
	e.remove(r, false)
	e.remove(gone, false)
	must(t, unix.Mount(source, e.data("bind"), "", unix.MS_BIND, "")) // by hand
	must(t, e.api.VolumeRemove(t.Context(), "bind", false))
	if got := content(t, source); got["below/file"] != "below" {
		t.Errorf("the removal went out of the volume: %v", got)
	}
}

// ext4 returns a loop device with a file system; empty where this host has no loop devices, as some machines of ours.
func ext4(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 8<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v %s", err, out)
	}
	device, err := mount.AttachLoopDevice(image)
	if err != nil {
		t.Logf("ext4 is not tried: %v", err)
		return ""
	}
	t.Cleanup(func() { must(t, mount.DetachLoopDevice(device)) })
	return device
}

// TestNetworkOptions has the names of hosts looked up, as nfs and cifs need it.
func TestNetworkOptions(t *testing.T) {
	lookUp := func(_ context.Context, host string) (string, error) {
		return map[string]string{"host": "10.0.0.1", "six": "fd00::1"}[host], nil
	}
	for _, c := range []struct{ kind, device, o, wantDevice, wantO string }{
		{"nfs", ":/x", "addr=host,rw", ":/x", "addr=10.0.0.1,rw"},
		{"nfs", ":/x", "rw,addr=10.0.0.2", ":/x", "rw,addr=10.0.0.2"},
		{"nfs", ":/x", "addr=six", ":/x", "addr=fd00::1"},
		{"nfs4", ":/x", "addr=host", ":/x", "addr=host"},
		{"cifs", "//host/a b", "user=x", "//10.0.0.1/a b", "user=x"},
		{"cifs", "//10.1.1.1/s", "user=x", "//10.1.1.1/s", "user=x"},
		{"cifs", "//host/s", "addr=host", "//host/s", "addr=10.0.0.1"},
		{"tmpfs", "host", "", "host", ""},
	} {
		device, o, err := source(t.Context(), map[string]string{"type": c.kind, "device": c.device, "o": c.o}, lookUp)
		if err != nil || device != c.wantDevice || o != c.wantO {
			t.Errorf("%+v: %s %s %v", c, device, o, err)
		}
	}
	if text := masked("mount x, data: user=a,password=secret,rw: failed",
		"user=a,password=secret,rw"); strings.Contains(text, "secret") {
		t.Error(text)
	}
}

func TestSubpath(t *testing.T) {
	e := newEngine(t)
	e.add("web", nil)
	data := e.data("web")
	write(t, filepath.Join(data, "dir", "file"), "x")
	must(t, os.Symlink("dir", filepath.Join(data, "link")))
	must(t, os.Symlink("/etc", filepath.Join(data, "out")))
	must(t, os.Symlink("../../../..", filepath.Join(data, "up")))
	must(t, os.Symlink("loop", filepath.Join(data, "loop")))
	for i, c := range []struct{ subpath, err string }{
		{"dir", ""}, {"link", ""}, {"dir/file", ""}, {"link/../dir", ""},
		{"none", "cannot access path " + data + "/none: lstat " + data + "/none: no such file or directory"},
		{"dir/file/x", "cannot access path"}, {"loop", "cannot access path"},
		{"out", "path concatenation escapes the base directory, base: " + data + ", subpath: out"},
		{"out/passwd", "path concatenation escapes"}, {"up/etc", "path concatenation escapes"}, {"../..",
			"path concatenation escapes"},
	} {
		m := vol("web", "/a")
		m.Subpath = c.subpath
		h := run(uint64(i + 1))
		got, err := e.Acquire(t.Context(), &record.Record{ID: "c1", Mounts: []record.Mount{m}}, h)
		if err != nil {
			if !strings.HasPrefix(err.Error(), c.err) || c.err == "" || !errdefs.IsNotFound(err) &&
				!errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: %v, not %s", c.subpath, err, c.err)
			}
			continue
		}
		at := sourceOf(got)
		if at != filepath.Join(e.root, mountsDir, h.String(), "0") || c.err != "" {
			t.Errorf("%s: %s", c.subpath, at)
		}
		path := filepath.Join(at, "file")
		if c.subpath == "dir/file" {
			path = at
		}
		if raw, err := os.ReadFile(path); err != nil || string(raw) != "x" {
			t.Errorf("%s: %s %v", c.subpath, raw, err)
		}
		must(t, e.Free(t.Context(), h))
		if _, err := os.Lstat(filepath.Dir(at)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", c.subpath, err)
		}
	}
}

// TestSubpathExchanged exchanges a directory for a link that leads out while the volume is acquired: nothing outside is
// reached.
func TestSubpathExchanged(t *testing.T) {
	e := newEngine(t)
	e.add("web", nil)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "b", "secret"), "x")
	data := e.data("web")
	write(t, filepath.Join(data, "a", "b", "file"), "x")
	must(t, os.Symlink(outside, filepath.Join(data, "bad")))
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(data, "a"), unix.AT_FDCWD, filepath.Join(data, "bad"),
				unix.RENAME_EXCHANGE)
		}
	})
	defer group.Wait()
	defer cancel()
	m := vol("web", "/x")
	m.Subpath = "a/b"
	r := &record.Record{ID: "c1", Mounts: []record.Mount{m}}
	reached, refused := 0, 0
	for generation := uint64(1); generation < 10_000 && (reached < 20 || refused < 20); generation++ {
		c, err := e.Acquire(t.Context(), r, run(generation))
		if err != nil {
			refused++
			continue
		}
		reached++
		if got := content(t, sourceOf(c)); got["file"] != "x" || len(got) != 1 {
			t.Fatalf("the container would see %v", got)
		}
		must(t, e.Free(t.Context(), run(generation)))
	}
	if reached == 0 || refused == 0 {
		t.Errorf("%d reached, %d refused", reached, refused)
	}
}
