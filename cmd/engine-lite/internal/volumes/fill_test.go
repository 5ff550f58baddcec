package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd/errdefs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
)

// image is a root filesystem with one of everything at /data.
func image(t *testing.T, root string) string {
	t.Helper()
	data := filepath.Join(root, "data")
	write(t, filepath.Join(data, "file"), "of the image")
	must(t, os.Chown(filepath.Join(data, "file"), 1000, 1001))
	must(t, os.Chmod(filepath.Join(data, "file"), 0o640|os.ModeSetgid))
	must(t, os.Chtimes(filepath.Join(data, "file"), time.Unix(1000, 0), time.Unix(1000, 5)))
	must(t, os.Link(filepath.Join(data, "file"), filepath.Join(data, "hard")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(data, "soft")))
	write(t, filepath.Join(data, "dir", "sub", "deep"), "deep")
	must(t, os.Chmod(filepath.Join(data, "dir"), 0o700|os.ModeSticky))
	must(t, os.Chtimes(filepath.Join(data, "dir"), time.Unix(3000, 0), time.Unix(3000, 0)))
	must(t, unix.Mkfifo(filepath.Join(data, "fifo"), 0o600))
	must(t, os.Lchown(filepath.Join(data, "soft"), 7, 8))
	sparse := filepath.Join(data, "sparse")
	write(t, sparse, "begin")
	must(t, os.Truncate(sparse, 1<<20))
	must(t, unix.Setxattr(sparse, "trusted.test", []byte("value"), 0))
	must(t, unix.Setxattr(data, "trusted.top", []byte("top"), 0))
	must(t, os.Chown(data, 5, 6))
	must(t, os.Chmod(data, 0o750))
	must(t, os.Chtimes(data, time.Unix(2000, 0), time.Unix(2000, 0)))
	must(t, os.Symlink("/data", filepath.Join(root, "abs"))) // in the image
	must(t, os.Symlink("../../../../../../../../etc", filepath.Join(root, "up")))
	return root
}

// same checks that a directory has what the image has at /data.
func same(t *testing.T, dir string) {
	t.Helper()
	stat := func(name string) (st unix.Stat_t) {
		must(t, unix.Lstat(filepath.Join(dir, name), &st))
		return st
	}
	file, hard, sparse, top := stat("file"), stat("hard"), stat("sparse"), stat(".")
	if file.Uid != 1000 || file.Gid != 1001 || file.Mode != unix.S_IFREG|unix.S_ISGID|0o640 ||
		file.Mtim != (unix.Timespec{Sec: 1000, Nsec: 5}) ||
		file.Ino != hard.Ino || file.Nlink != 2 {
		t.Errorf("file: %+v", file)
	}
	if sparse.Size != 1<<20 || sparse.Blocks > 64 {
		t.Errorf("sparse: %+v", sparse)
	}
	if top.Uid != 5 || top.Gid != 6 || top.Mode&0o7777 != 0o750 {
		t.Errorf("the directory itself: %+v", top)
	}
	if d := stat("dir"); d.Mode != unix.S_IFDIR|unix.S_ISVTX|0o700 || d.Mtim.Sec != 3000 {
		t.Errorf("dir: %o %d", d.Mode, d.Mtim.Sec)
	}
	if f := stat("fifo"); f.Mode != unix.S_IFIFO|0o600 {
		t.Errorf("fifo: %o", f.Mode)
	}
	value := make([]byte, 10)
	for name, want := range map[string]string{"sparse": "trusted.test=value", ".": "trusted.top=top"} {
		key, want, _ := strings.Cut(want, "=")
		if n, err := unix.Getxattr(filepath.Join(dir, name), key, value); err != nil || string(value[:n]) != want {
			t.Errorf("%s: %q %v", name, value, err)
		}
	}
	if soft := stat("soft"); soft.Uid != 7 || soft.Gid != 8 {
		t.Errorf("soft: %+v", soft)
	}
	if to, err := os.Readlink(filepath.Join(dir, "soft")); err != nil || to != "/etc/passwd" {
		t.Errorf("%s %v", to, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "dir", "sub", "deep")); err != nil || string(got) != "deep" {
		t.Errorf("%s %v", got, err)
	}
	if got := content(t, dir); len(got) != 8 {
		t.Errorf("%d entries", len(got))
	}
}

func (e *engine) fillFrom(r *record.Record, root string) {
	e.Helper()
	must(e.T, e.Fill(e.Context(), r, bindOf(root)))
}

// state is how far the copy into a volume has come, and whether something is left beside it.
func (e *engine) state(name string) string {
	v, err := e.get(name)
	must(e.T, err)
	left := ""
	for _, dir := range []string{fillingDir, mountsDir, removedDir} {
		for _, entry := range e.entries(dir) {
			left += " " + dir + "/" + entry
		}
	}
	if v.Fill != nil {
		left += fmt.Sprintf(" %+v", *v.Fill)
	}
	return string(v.CopyUp) + left
}

func TestFill(t *testing.T) {
	e := newEngine(t)
	root := image(t, t.TempDir())
	nocopy := vol("nocopy", "/data")
	nocopy.CopyUp = false
	e.fillFrom(e.create("c1", vol("web", "/data"), vol("abs", "/abs"), vol("none", "/none"), vol("up", "/up"),
		vol("aFile", "/data/file"), nocopy), root)
	same(t, e.data("web"))
	if info, err := os.Stat(e.data("web")); err != nil || info.ModTime().Unix() != 2000 {
		t.Errorf("%v %v", info, err)
	}
	same(t, e.data("abs")) // an absolute link of the image stays in the image
	for _, name := range []string{"none", "up", "aFile", "nocopy"} {
		if list, err := os.ReadDir(e.data(name)); len(list) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v %v", name, list, err)
		}
	}
	for name, want := range map[string]string{"web": "filled", "none": "", "nocopy": ""} {
		if got := e.state(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	must(t, os.RemoveAll(filepath.Join(e.data("web"), "dir")))
	e.fillFrom(e.create("c2", vol("web", "/data")), root) // not empty: left alone
	if got := content(t, e.data("web")); got["dir"] != "" || len(got) != 5 {
		t.Errorf("%v", got)
	}
}

// TestFillSubpath copies into the part of a volume that the container gets.
func TestFillSubpath(t *testing.T) {
	e := newEngine(t)
	e.add("web", nil)
	must(t, os.MkdirAll(filepath.Join(e.data("web"), "a", "b"), 0o755))
	missing, part, out := vol("web", "/data"), vol("web", "/data"), vol("web", "/data")
	missing.Subpath, part.Subpath, out.Subpath = "none", "a/b", "../.."
	e.fillFrom(e.create("c1", missing, part), image(t, t.TempDir()))
	same(t, filepath.Join(e.data("web"), "a", "b"))
	if got := content(t, e.data("web")); len(got) != 2+8 {
		t.Errorf("%v", got)
	}
	// As at dockerd, a path that leads out of the volume is refused by the start, and not by the create.
	leads := e.create("c2", out)
	must(t, e.Fill(t.Context(), leads, bindOf(image(t, t.TempDir()))))
	if _, err := e.Acquire(t.Context(), leads, resources.Run("c2", 1)); !errdefs.IsInvalidArgument(err) ||
		!strings.Contains(err.Error(), "escapes the base directory") {
		t.Errorf("%v", err)
	}
}

// TestFillMounted copies into the file system that a volume's options name, unless another container uses it.
func TestFillMounted(t *testing.T) {
	e := newEngine(t)
	host := t.TempDir()
	e.add("bind", map[string]string{"type": "none", "device": host, "o": "bind"})
	empty := t.TempDir()
	e.add("busy", map[string]string{"type": "none", "device": empty, "o": "bind"})
	busy := e.create("c1", vol("busy", "/x"))
	e.acquire(busy, run(1))
	e.fillFrom(e.create("c2", vol("bind", "/data"), vol("busy", "/data")), image(t, t.TempDir()))
	same(t, host)
	if got := content(t, empty); len(got) > 0 {
		t.Errorf("%v", got)
	}
	if got := e.state("bind"); got != "filled" {
		t.Errorf("%s", got)
	}
	must(t, e.Free(t.Context(), run(1)))
	if got := e.mounts(); len(got) > 0 {
		t.Errorf("mounts: %q", got)
	}
}

// TestFillNothing has a volume that can't be mounted now: it is not mounted where the image has nothing to copy.
func TestFillNothing(t *testing.T) {
	e := newEngine(t)
	e.add("later", map[string]string{"type": "none", "device": "/none", "o": "bind"})
	must(t, e.Fill(t.Context(), e.create("c1", vol("later", "/not/in/the/image")), bindOf(image(t, t.TempDir()))))
	if err := e.Fill(t.Context(), e.create("c2", vol("later", "/data")), bindOf(image(t, t.TempDir()))); err == nil {
		t.Error("nothing was mounted")
	}
}

// TestFillNoCopy has a volume into which nothing is to be copied: its directory is there.
func TestFillNoCopy(t *testing.T) {
	e := newEngine(t)
	m := vol("web", "/data")
	m.CopyUp = false
	must(t, e.Fill(t.Context(), e.create("c1", m), bindOf(image(t, t.TempDir()))))
	if list, err := os.ReadDir(e.data("web")); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestFillTogether fills a volume for several containers that are created at once: each waits until the volume is
// filled.
func TestFillTogether(t *testing.T) {
	e := newEngine(t)
	root := image(t, t.TempDir())
	var group sync.WaitGroup
	for i := range 4 {
		r := e.create(fmt.Sprintf("c%d", i), vol("web", "/data"))
		group.Go(func() {
			if err := e.Fill(t.Context(), r, bindOf(root)); err != nil {
				t.Error(err)
			}
			same(t, e.data("web"))
		})
	}
	group.Wait()
}

// TestManyFiles copies more files than are synced one by one.
func TestManyFiles(t *testing.T) {
	e := newEngine(t)
	root := t.TempDir()
	for i := range syncEach + 10 {
		write(t, filepath.Join(root, "data", fmt.Sprint(i%7), fmt.Sprint(i)), strings.Repeat("x", i))
	}
	e.fillFrom(e.create("c1", vol("web", "/data")), root)
	if got, want := content(t, e.data("web")), content(t, filepath.Join(root, "data")); !maps.Equal(got, want) {
		t.Errorf("%d files, not %d", len(got), len(want))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := copyTree(ctx, filepath.Join(root, "copy"), filepath.Join(root, "data"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestFillFails leaves an empty volume and no trace where the image cannot be read.
func TestFillFails(t *testing.T) {
	e := newEngine(t)
	r := e.create("c1", vol("web", "/data"))
	if err := e.Fill(t.Context(), r, bindOf("/no/such/directory")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if got, left := e.state("web"), content(t, e.data("web")); got != "" || len(left) > 0 {
		t.Errorf("%s %v", got, left)
	}
	e.fillFrom(r, image(t, t.TempDir()))
	same(t, e.data("web"))
}

// TestKilledInFill kills the engine after each step of a copy. The volume is empty then, and is filled for the next
// container, or it is full. What another container has written meanwhile stays.
func TestKilledInFill(t *testing.T) {
	for _, mounted := range []bool{false, true} {
		e := newEngineIn(t, memory(t))
		root := image(t, t.TempDir())
		host := memory(t)
		for i, step := range []string{"create: directory", "fill: begun", "fill: staged", "fill: complete",
			"fill: entry", "fill: merged", "fill: unstaged", ""} {
			name := fmt.Sprintf("v%d", i)
			at := filepath.Join(host, name)
			must(t, os.MkdirAll(at, 0o755))
			if mounted {
				e.add(name, map[string]string{"type": "none", "device": at, "o": "bind"})
			}
			r := e.create(fmt.Sprintf("c%d", i), vol(name, "/data"))
			nth := 1
			if step == "fill: entry" {
				nth = 3
			}
			killed := e.killedAt(step, nth, func(l *Local) { must(t, l.Fill(t.Context(), r, bindOf(root))) })
			never := step == "" || step == "fill: begun" && !mounted
			if killed == never {
				t.Errorf("%s: killed is %v", step, killed)
			}
			e.sweep()
			if got := e.mounts(); len(got) > 0 {
				t.Errorf("%s: mounts: %q", step, got)
			}
			h := resources.Run(r.ID, 1)
			c := e.acquire(r, h)
			got := content(t, sourceOf(c))
			if len(got) != 0 && len(got) != 8 {
				t.Errorf("%s: %v", step, got)
			}
			must(t, e.Free(t.Context(), h))
			e.remove(r, false)
			e.fillFrom(e.create("d"+name, vol(name, "/data")), root)
			c = e.acquire(r, h)
			same(t, sourceOf(c))
			must(t, e.Free(t.Context(), h))
			if got := e.state(name); got != "filled" {
				t.Errorf("%s: %s", step, got)
			}
		}
	}
}
