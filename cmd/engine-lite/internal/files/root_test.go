package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestOpenMounted opens the files of a running container: what either of the two writes, the other one sees. The
// overlay is not mounted a second time.
func TestOpenMounted(t *testing.T) {
	b := newBox(t)
	c := b.config()
	c.MountedOnly = true
	if r, err := Open(c); !errors.Is(err, ErrNotMounted) {
		t.Fatalf("files that are not mounted: %v, %v", r, err)
	}
	at := b.mounted()
	r, err := Open(c)
	must(t, err)
	defer r.Close()
	must(t, os.WriteFile(filepath.Join(at, "mine"), []byte("text"), 0o644))
	if got := pack(t, r, "/mine"); got["mine"].text != "text" {
		t.Errorf("%+v", got)
	}
	must(t, unpack(t, r, "/", UnpackOptions{}, file("yours", "text")))
	if text, err := os.ReadFile(filepath.Join(at, "yours")); string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	var outside unix.Stat_t
	must(t, unix.Stat(at, &outside))
	must(t, r.inside(func() error {
		var inside unix.Stat_t
		if err := unix.Stat("/", &inside); err != nil || inside.Dev != outside.Dev {
			t.Errorf("another filesystem: %d and %d, %v", inside.Dev, outside.Dev, err)
		}
		return nil
	}))
}

// TestOpenOtherMount has another filesystem on the place where the overlay is mounted: it is not taken for the overlay.
func TestOpenOtherMount(t *testing.T) {
	b := newBox(t)
	at := b.mounted()
	must(t, unix.Mount("tmpfs", at, "tmpfs", 0, "size=64k"))
	defer func() { must(t, unix.Unmount(at, 0)) }()
	c := b.config()
	c.MountedOnly = true
	if r, err := Open(c); !errors.Is(err, ErrNotMounted) {
		t.Errorf("%v, %v", r, err)
	}
}

// TestOpenMounts has mounts of the container: nested, of a file, without a mount point, behind links, tmpfs.
func TestOpenMounts(t *testing.T) {
	b := newBox(t)
	for _, dir := range []string{"host/a/b", "other"} {
		must(t, os.MkdirAll(b.path(dir), 0o755))
	}
	b.write("host/file", "of the host")
	b.write("other/x", "of the other")
	must(t, os.Symlink("/made", filepath.Join(b.lower, "link")))
	b.bind(b.host, "/v")
	b.bind(b.path("other"), "/v/a/b")
	b.bind(b.path("host/file"), "/etc/new/file")
	b.bind(b.path("other"), "/link/to/dir")
	b.mounts = append(b.mounts, specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/bar"})
	r := b.open()
	if got := pack(t, r, "/v"); got["v/file"].text != "of the host" || got["v/a/b/x"].text != "of the other" {
		t.Errorf("%v", got)
	}
	if got := pack(t, r, "/etc/new"); got["new/file"].text != "of the host" {
		t.Errorf("%v", got)
	}
	if got := pack(t, r, "/made"); got["made/to/dir/x"].text != "of the other" {
		t.Errorf("%v", got)
	}
	if got := pack(t, r, "/bar/quux"); got["quux/baz"].text != "world" {
		t.Errorf("below a tmpfs: %v", got)
	}
	if err := unpack(t, r, "/etc/new", UnpackOptions{}, file("file", "x")); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a mount point is replaced: %v", err)
	}
	if list, err := os.ReadDir(b.path("host/a/b")); err != nil || len(list) > 0 {
		t.Errorf("a mount shows on the host: %v, %v", list, err)
	}
}

// TestOpenBind has the root filesystem of a snapshotter that copies.
func TestOpenBind(t *testing.T) {
	b := newBox(t)
	b.rootfs = []mount.Mount{{Type: "bind", Source: b.lower, Options: []string{"rbind", "rw"}}}
	r := b.open()
	must(t, unpack(t, r, "/", UnpackOptions{}, file("x", "y")))
	if b.read("lower/x") != "y" {
		t.Error("nothing was written")
	}
}

// TestOpenFails has root filesystems and mounts that are not there. Nothing stays mounted: the box checks that.
func TestOpenFails(t *testing.T) {
	b := newBox(t)
	c := b.config()
	c.Rootfs = []mount.Mount{{Type: "erofs"}}
	if _, err := Open(c); !errdefs.IsNotImplemented(err) {
		t.Errorf("an unknown type: %v", err)
	}
	c.Rootfs = nil
	if _, err := Open(c); !errdefs.IsNotImplemented(err) {
		t.Errorf("no root filesystem: %v", err)
	}
	c.Rootfs = []mount.Mount{{Type: "overlay", Options: []string{"upperdir=/none", "workdir=/none", "lowerdir=/none"}}}
	if _, err := Open(c); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directories: %v", err)
	}
	for source, at := range map[string]string{"/none": "/x", b.host: "/foo/x"} {
		c = b.config()
		c.Mounts = []specs.Mount{{Type: "bind", Source: source, Destination: at, Options: []string{"rbind"}}}
		if _, err := Open(c); err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s at %s: %v", source, at, err)
		}
	}
}

// TestOpenBesideMark has the mark of an unsynced mount, as one leaves it that the kernel has refused in its middle.
func TestOpenBesideMark(t *testing.T) {
	b := newBox(t)
	c := b.config()
	c.Rootfs = slices.Clone(c.Rootfs)
	c.Rootfs[0].Options = append(slices.Clone(c.Rootfs[0].Options), "nonsense")
	must(t, os.MkdirAll(b.path("work/work/incompat/volatile"), 0o700))
	if _, err := Open(c); err == nil {
		t.Error("an unknown option was taken")
	}
	if _, err := os.Lstat(b.path("work/work/incompat")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a mark is left: %v", err)
	}
	must(t, os.MkdirAll(b.path("work/work/incompat/volatile"), 0o700))
	must(t, unpack(t, b.open(), "/", UnpackOptions{}, file("x", "y")))
}

// TestManyLayers has an overlay whose options fit into a page only in the short form.
func TestManyLayers(t *testing.T) {
	b := newBox(t)
	lower := []string{b.lower}
	for i := range 30 {
		dir := b.path("layers/" + strings.Repeat("l", 100) + fmt.Sprint(i))
		must(t, os.MkdirAll(dir, 0o755))
		lower = append(lower, dir)
	}
	b.write("layers/"+strings.Repeat("l", 100)+"29/last", "text")
	b.rootfs[0].Options[2] = "lowerdir=" + strings.Join(lower, ":")
	if got := pack(t, b.open(), "/last"); got["last"].text != "text" {
		t.Errorf("%v", got)
	}
}

// TestHostIsUnchanged opens, uses and closes files: the mounts of the host and the threads are as before.
func TestHostIsUnchanged(t *testing.T) {
	b := newBox(t)
	mounts := func() []string {
		list, err := mountinfo.GetMounts(nil)
		must(t, err)
		var text []string
		for _, m := range list {
			if strings.HasPrefix(m.Mountpoint, filepath.Dir(b.lower)) {
				text = append(text, m.Mountpoint)
			}
		}
		return text
	}
	was := mounts()
	self, err := os.Readlink("/proc/self/ns/mnt")
	must(t, err)
	for range 20 {
		r, err := Open(b.config())
		must(t, err)
		pack(t, r, "/foo")
		if is := mounts(); len(is) != len(was) {
			t.Errorf("mounts show on the host: %v, were %v", is, was)
		}
		must(t, r.Close())
	}
	// The threads end soon after their goroutines. No other has changed.
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		tasks, err := filepath.Glob("/proc/self/task/*/ns/mnt")
		must(t, err)
		others := 0
		for _, task := range tasks {
			if ns, err := os.Readlink(task); err == nil && ns != self {
				others++
			}
		}
		if others == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads are in other namespaces", others)
		}
	}
}

// TestCopiesShare has several copies of a container: they share its files, which are closed with the last.
func TestCopiesShare(t *testing.T) {
	b := newBox(t)
	var c Copies
	var opened int
	open := func() (*Root, error) {
		opened++
		return Open(b.config())
	}
	var all sync.WaitGroup
	list := make([]*Copy, 8)
	for i := range list {
		all.Go(func() {
			var err error
			if list[i], err = c.Begin(t.Context(), open); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i, copied := range list {
		all.Go(func() {
			defer copied.Close()
			_ = unpack(t, copied.Root, "/", UnpackOptions{}, file("x"+string(rune('0'+i)), "y"))
		})
	}
	all.Wait()
	if opened != 1 || c.root != nil {
		t.Errorf("opened %d times", opened)
	}
	must(t, c.End(t.Context(), time.Hour))
	broken := errors.New("broken")
	if _, err := c.Begin(t.Context(), func() (*Root, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	must(t, c.End(t.Context(), time.Hour))
}

// TestCopiesEnd waits for a copy, and ends one that takes too long.
func TestCopiesEnd(t *testing.T) {
	b := newBox(t)
	var c Copies
	open := func() (*Root, error) { return Open(b.config()) }
	n, err := c.Begin(t.Context(), open)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.End(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || n.Context.Err() != nil {
		t.Errorf("%v, %v", err, n.Context.Err())
	}
	closed := make(chan error, 1)
	go func() {
		<-n.Context.Done()
		closed <- n.Close()
	}()
	must(t, c.End(t.Context(), 10*time.Millisecond))
	must(t, <-closed)
	if err := context.Cause(n.Context); !errors.Is(err, ErrEnded) {
		t.Errorf("the cause: %v", err)
	}
}
