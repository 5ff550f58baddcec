package users

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// layer makes a directory with files, given by name.
func layer(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

func TestLayersOf(t *testing.T) {
	got := Layers([]mount.Mount{{Type: "overlay", Options: []string{"lowerdir=/l1:/l2", "upperdir=/u", "workdir=/w"}}})
	if !slices.Equal(got, []string{"/u", "/l1", "/l2"}) {
		t.Errorf("overlay: %v", got)
	}
	if got := Layers([]mount.Mount{{Type: "bind", Source: "/b", Options: []string{"rbind"}}}); !slices.Equal(got,
		[]string{"/b"}) {
		t.Errorf("bind: %v", got)
	}
}

func TestResolveUser(t *testing.T) {
	lower := layer(t, map[string]string{
		"etc/passwd": "root:x:0:0::/:\nalice:x:1000:1001::/:\n",
		"etc/group":  "root:x:0:\nusers:x:1001:\nstaff:x:50:alice\n",
	})
	dirs := []string{filepath.Join(t.TempDir(), "nosuch"), t.TempDir(), lower}
	for spec, want := range map[string][]uint32{"": {0, 0}, "alice": {1000, 1001}, "alice:staff": {1000, 50},
		"5:6": {5, 6}, "7": {7, 0}} {
		u, err := Resolve(dirs, spec, nil)
		if err != nil || u.UID != want[0] || u.GID != want[1] {
			t.Errorf("%q: %+v, %v", spec, u, err)
		}
	}
	if u, err := Resolve(dirs, "alice", []string{"users", "77"}); err != nil ||
		!slices.Contains(u.AdditionalGids, 77) || !slices.Contains(u.AdditionalGids, 50) {
		t.Errorf("groups: %+v, %v", u, err)
	}
	for _, spec := range []string{"bob", "alice:nosuch", "-1", "4294967296"} {
		if u, err := Resolve(dirs, spec, nil); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %+v, %v", spec, u, err)
		}
	}
	if _, err := Resolve(dirs, "", []string{"nosuch"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown group: %v", err)
	}
}

// A path in an upper layer hides the file of the lower one, whatever is at that path. The
// engine does not open special files of a container by accident, and does not wait for
// them.
func TestUpperLayerHides(t *testing.T) {
	const name = "etc/passwd"
	lower := layer(t, map[string]string{name: "lower", "secret": "s"})
	etc := func(dir string) string {
		must(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
		return filepath.Join(dir, "etc")
	}
	for what, c := range map[string]struct {
		upper func(dir string) error
		want  string
	}{
		"nothing":   {func(string) error { return nil }, "lower"},
		"directory": {func(dir string) error { etc(dir); return nil }, "lower"},
		"file": {func(dir string) error {
			return os.WriteFile(filepath.Join(etc(dir), "passwd"), []byte("upper"), 0o600)
		}, "upper"},
		"whiteout": {func(dir string) error {
			return unix.Mknod(filepath.Join(etc(dir), "passwd"), unix.S_IFCHR, 0)
		}, ""},
		"whiteout of etc": {func(dir string) error { return unix.Mknod(filepath.Join(dir, "etc"), unix.S_IFCHR, 0) },
			""},
		"opaque directory": {func(dir string) error {
			return unix.Setxattr(etc(dir), "trusted.overlay.opaque", []byte("y"), 0)
		}, ""},
		"pipe":         {func(dir string) error { return unix.Mkfifo(filepath.Join(etc(dir), "passwd"), 0o600) }, ""},
		"file for etc": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "etc"), nil, 0o600) }, ""},
		"link within": {func(dir string) error {
			must(t, os.WriteFile(filepath.Join(dir, "x"), []byte("linked"), 0o600))
			return os.Symlink("../x", filepath.Join(etc(dir), "passwd"))
		}, "linked"},
		"absolute link to another layer": {func(dir string) error {
			return os.Symlink("/secret", filepath.Join(etc(dir), "passwd"))
		}, "s"},
		"absolute link for etc": {func(dir string) error {
			must(t, os.MkdirAll(filepath.Join(dir, "usr", "etc"), 0o755))
			must(t, os.Symlink("../../../../etc.old/passwd", filepath.Join(dir, "usr", "etc", "passwd")))
			must(t, os.Symlink("/", filepath.Join(dir, "etc.old")))
			must(t, os.WriteFile(filepath.Join(dir, "passwd"), []byte("linked"), 0o600))
			return os.Symlink("/usr/etc/", filepath.Join(dir, "etc"))
		}, "linked"},
		"link out": {func(dir string) error {
			return os.Symlink(filepath.Join(lower, "secret"), filepath.Join(etc(dir), "passwd"))
		}, ""},
		"link to a directory within": {func(dir string) error {
			must(t, os.MkdirAll(filepath.Join(dir, "usr", "etc"), 0o755))
			must(t, os.WriteFile(filepath.Join(dir, "usr", "etc", "passwd"), []byte("linked"), 0o600))
			return os.Symlink("usr/etc", filepath.Join(dir, "etc"))
		}, "linked"},
		"link upwards": {func(dir string) error {
			return os.Symlink("../../"+filepath.Base(lower)+"/secret", filepath.Join(etc(dir), "passwd"))
		}, ""},
		"link to itself":  {func(dir string) error { return os.Symlink("passwd", filepath.Join(etc(dir), "passwd")) }, ""},
		"link to nowhere": {func(dir string) error { return os.Symlink("nosuch", filepath.Join(etc(dir), "passwd")) }, ""},
	} {
		upper := t.TempDir()
		must(t, c.upper(upper))
		got := ""
		if f := openIn(t, []string{upper, lower}, name); f != nil {
			raw, err := io.ReadAll(f)
			must(t, err)
			closeFiles(f)
			got = string(raw)
		}
		if got != c.want {
			t.Errorf("%s: %q, not %q", what, got, c.want)
		}
	}
}

// openIn opens a file of layers.
func openIn(t testing.TB, layers []string, name string) *os.File {
	t.Helper()
	root, err := openRoot(layers)
	must(t, err)
	defer root.close()
	f, _, err := root.open(name)
	must(t, err)
	return f
}

// TestSwappedDirectory has a container swap its /etc for a link out of it while the engine looks a user up. The engine
// opens no file outside.
func TestSwappedDirectory(t *testing.T) {
	outside := layer(t, map[string]string{"passwd": "outside"})
	dir := layer(t, map[string]string{"etc/passwd": "inside"})
	etc, other := filepath.Join(dir, "etc"), filepath.Join(dir, "other")
	must(t, os.Symlink("../"+filepath.Base(outside), other))
	stop, swapped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				swapped <- nil
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, etc, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
				swapped <- err
				return
			}
		}
	}()
	for inside := 0; inside < 1000; {
		f := openIn(t, []string{dir}, "etc/passwd")
		if f == nil {
			continue // the link was there
		}
		text, err := io.ReadAll(f)
		closeFiles(f)
		if string(text) != "inside" || err != nil {
			t.Errorf("opened a file with %q, %v", text, err)
			break
		}
		inside++
	}
	close(stop)
	must(t, <-swapped)
}

func FuzzResolveUser(f *testing.F) {
	f.Add("root:x:0:0::/:\n", "root:x:0:\n", "root:root", "root")
	f.Add("a:b", ":::::", "a:1", "")
	f.Add("x:x:-1:99999999999::/:", "g:x:-5:x", "x", "g")
	dir := layer(f, map[string]string{"etc/passwd": "", "etc/group": ""})
	f.Fuzz(func(t *testing.T, passwd, group, spec, more string) {
		must(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte(passwd), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "etc/group"), []byte(group), 0o600))
		u, err := Resolve([]string{dir}, spec, strings.Fields(more))
		if err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v", err)
		}
		if err == nil && (u.UID > maxID || u.GID > maxID) {
			t.Errorf("%q with %q: %d:%d", spec, passwd, u.UID, u.GID)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestIsDirectory(t *testing.T) {
	lower := layer(t, map[string]string{"etc/passwd": "", "data/x": "", "gone/x": ""})
	upper := layer(t, map[string]string{"etc/group": "", "work/x": ""})
	must(t, os.Symlink("/data", filepath.Join(upper, "link")))
	must(t, os.Symlink("../../../..", filepath.Join(upper, "work/up")))
	must(t, unix.Mknod(filepath.Join(upper, "gone"), unix.S_IFCHR, 0)) // a whiteout
	for path, want := range map[string]bool{
		"/": true, "/etc": true, "/data": true, "/work/": true, "/link": true, "/work/up/data": true, "/work/../etc": true,
		"/etc/passwd": false, "/etc/passwd/x": false, "/gone": false, "/gone/x": false, "/new": false, "/etc/new": false,
	} {
		if got, err := IsDirectory([]string{upper, lower}, path); err != nil || got != want {
			t.Errorf("%s: %t, %v", path, got, err)
		}
	}
}
