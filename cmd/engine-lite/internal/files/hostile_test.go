package files

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/ownthread"
)

// hostTree lists all of the host's directory beside the container, with what could change.
func (b *box) hostTree(t testing.TB) []string {
	t.Helper()
	var list []string
	must(t, filepath.WalkDir(b.host, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		}
		list = append(list, path+" "+info.Mode().String()+" "+info.ModTime().String()+" "+text)
		return nil
	}))
	return list
}

// unchanged fails the test if something has changed on the host since the call.
func (b *box) unchanged() (check func(t testing.TB)) {
	b.t.Helper()
	b.write("host/secret", "secret")
	must(b.t, os.MkdirAll(b.path("host/dir"), 0o755))
	b.write("host/dir/secret", "secret")
	was := b.hostTree(b.t)
	return func(t testing.TB) {
		t.Helper()
		if is := b.hostTree(t); !slices.Equal(is, was) {
			t.Errorf("the host has changed: %q, was %q", is, was)
		}
	}
}

// TestHostileLinks has links in the container and in archives that would lead to the host's files.
func TestHostileLinks(t *testing.T) {
	b := newBox(t)
	check := b.unchanged()
	up := strings.Repeat("../", 40)
	for link, to := range map[string]string{
		"abs": b.host, "abs-file": b.path("host/secret"), "up": up + b.host[1:], "up-file": up + b.path("host/secret")[1:],
		"process": "/proc/self/root" + b.host, "cwd": "/proc/self/cwd",
	} {
		must(t, os.Symlink(to, filepath.Join(b.lower, link)))
	}
	r := b.open()
	for _, path := range []string{
		"/abs/", "/abs/secret", "/abs-file/.", "/up/", "/up/secret", "/process/secret", "/proc/self/root",
		up + b.host[1:] + "/secret", "/cwd/", "/proc/thread-self/root/etc", b.path("host/secret"),
	} {
		if s, err := r.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %+v, %v", path, s, err)
		}
		if err := r.Pack(t.Context(), path, io.Discard); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("pack %s: %v", path, err)
		}
		if err := unpack(t, r, path, UnpackOptions{}, file("secret", "changed")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("unpack %s: %v", path, err)
		}
	}
	if s, err := r.Stat("/up-file"); err != nil || s.LinkTarget != b.path("host/secret") {
		t.Errorf("a link that leads nowhere: %+v, %v", s, err)
	}
	for name, e := range pack(t, r, "/") {
		if strings.Contains(e.text, "secret") {
			t.Errorf("the archive has the host's %s", name)
		}
	}
	// What goes through a link of the archive stays in the container.
	for name, list := range map[string][]entry{
		"a link that replaces one": {file("abs-file", "changed"), file("up-file", "changed")},
		"an absolute link":         {other(tar.TypeSymlink, "l1", b.host), file("l1/secret", "changed")},
		"a link upwards":           {other(tar.TypeSymlink, "l2", up+b.host[1:]), file("l2/secret", "changed")},
		"a hard link to a link": {
			other(tar.TypeSymlink, "l3", b.path("host/secret")), other(tar.TypeLink, "l4", "l3"), file("l4", "x"),
		},
		"a hard link through one": {other(tar.TypeSymlink, "l5", b.host), other(tar.TypeLink, "l6", "l5/secret")},
	} {
		if err := unpack(t, r, "/", UnpackOptions{}, list...); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check(t)
}

// TestHostileDevices has devices in the container, and in an archive: they are copied, and never opened.
func TestHostileDevices(t *testing.T) {
	b := newBox(t)
	r := b.open()
	null := other(tar.TypeChar, "null", "")
	null.Devmajor, null.Devminor = 1, 3
	must(t, unpack(t, r, "/tmp", UnpackOptions{}, null, file("null-not", "x")))
	must(t, r.inside(func() error {
		if fd, err := openat(unix.AT_FDCWD, "/tmp/null", unix.O_RDONLY, 0); !errors.Is(err, unix.EACCES) {
			t.Errorf("a device can be opened: %d, %v", fd, err)
		}
		return nil
	}))
	must(t, unpack(t, r, "/tmp", UnpackOptions{}, file("null", "a file now")))
	if b.read("upper/tmp/null") != "a file now" {
		t.Error("the device was not replaced")
	}
}

// TestHostileSwaps copies out and in while a running container swaps directories for links to the host's, files for
// pipes and devices, and removes them.
func TestHostileSwaps(t *testing.T) {
	b := newBox(t)
	check := b.unchanged()
	at := b.mounted()
	must(t, os.MkdirAll(filepath.Join(at, "w/real"), 0o755))
	must(t, os.WriteFile(filepath.Join(at, "w/real/secret"), []byte("mine"), 0o644))
	stop := make(chan struct{})
	var container sync.WaitGroup
	container.Go(func() { swap(filepath.Join(at, "w"), b.host, stop) })
	r := b.open()
	deadline := time.Now().Add(400 * time.Millisecond)
	for n := 0; time.Now().Before(deadline) || n < 20; n++ {
		out := pack(t, r, "/w")
		for name, e := range out {
			if strings.Contains(e.text, "secret") {
				t.Errorf("the archive has the host's %s", name)
			}
		}
		// Some fail: the container is in the way. Nothing hangs.
		_ = unpack(t, r, "/w", UnpackOptions{},
			file("dir/secret", "changed"), file("file", "changed"), other(tar.TypeDir, "dir", ""))
		_ = unpack(t, r, "/w/dir", UnpackOptions{}, file("secret", "changed"))
	}
	close(stop)
	container.Wait()
	check(t)
}

// swap is a hostile container: names in its directory become one thing after the other.
func swap(dir, host string, stop <-chan struct{}) {
	d, f := filepath.Join(dir, "dir"), filepath.Join(dir, "file")
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		next := filepath.Join(dir, "next")
		_ = os.RemoveAll(next)
		switch n % 4 {
		case 0:
			_ = os.Symlink(host, next)
		case 1:
			_ = os.Mkdir(next, 0o755)
		case 2:
			_ = unix.Mkfifo(next, 0o644)
		case 3:
			_ = os.WriteFile(next, []byte("mine"), 0o644)
		}
		to := d
		if n%3 == 0 {
			to = f
		}
		_ = os.RemoveAll(to)
		_ = os.Rename(next, to)
		_ = unix.Mknod(next, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) // an endless file
		_ = os.Rename(next, f)
	}
}

// TestHostileDepth has a path that is longer than any path may be, which a container makes step by step.
func TestHostileDepth(t *testing.T) {
	b := newBox(t)
	r := b.open()
	must(t, ownthread.Run(func() error {
		if err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chdir(b.path("lower/tmp"))); err != nil {
			return err
		}
		for range 60 {
			name := strings.Repeat("d", 100)
			if err := errors.Join(unix.Mkdir(name, 0o755), unix.Chdir(name)); err != nil {
				return err
			}
		}
		return nil
	}))
	if err := r.Pack(t.Context(), "/tmp", io.Discard); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a path that is too long: %v", err)
	}
	must(t, unpack(t, r, "/", UnpackOptions{}, file("tmp", "a file now"))) // removes it
}

// FuzzUnpack unpacks any archive: nothing beside the container changes.
func FuzzUnpack(f *testing.F) {
	for _, list := range [][]entry{
		{file("../../host/secret", "x")}, {other(tar.TypeSymlink, "a", "/"), file("a/b", "x")},
		{other(tar.TypeLink, "a", "../host/secret"), other(tar.TypeDir, "d", ""), file("d/e", "x")},
	} {
		archive := archiveOf(f, list...)
		text := make([]byte, 1<<16)
		n, _ := archive.Read(text)
		f.Add("/", text[:n])
	}
	b := fillBox(f, f.TempDir()) // a worker is killed at its end: it mounts nothing on the host
	b.rootfs = []mount.Mount{{Type: "bind", Source: b.lower, Options: []string{"rbind", "rw"}}}
	check := b.unchanged()
	r := b.open()
	f.Fuzz(func(t *testing.T, path string, archive []byte) {
		_ = r.Unpack(t.Context(), path, strings.NewReader(string(archive)), UnpackOptions{})
		check(t)
	})
}
