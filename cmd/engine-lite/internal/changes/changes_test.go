package changes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	ctrarchive "github.com/containerd/containerd/v2/pkg/archive"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is an image of two layers and a container of it.
type rig struct {
	Source
	// root is where the test sees and changes the container's files, image a copy of the image's.
	root, image string
}

// newRig returns a container for which fill has made the image. Without an option it is native's, with one overlayfs's.
func newRig(t testing.TB, fill func(dir string, layer int), options ...string) *rig {
	dir := t.TempDir()
	sub := func(name string) string {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(path, 0o755))
		return path
	}
	r := &rig{image: sub("image")}
	bottom, top, work := sub("layers/1"), sub("layers/2"), sub("layers/work")
	fill(bottom, 0)
	mounted := mountOverlay(t, sub("both"), append([]string{"lowerdir=" + bottom, "upperdir=" + top, "workdir=" + work}, options...))
	fill(mounted, 1)
	run(t, "cp", "-a", mounted+"/.", r.image)
	run(t, "umount", mounted)
	if options == nil {
		r.root = sub("copy")
		run(t, "cp", "-a", r.image+"/.", r.root)
		r.Image = []mount.Mount{{Type: "bind", Source: r.image, Options: []string{"ro", "rbind"}}}
		r.Container = []mount.Mount{{Type: "bind", Source: r.root, Options: []string{"rw", "rbind"}}}
		return r
	}
	lower := "lowerdir=" + top + ":" + bottom
	all := append([]string{"workdir=" + sub("layers/w"), "upperdir=" + sub("layers/up"), lower}, options...)
	r.Container = []mount.Mount{{Type: "overlay", Source: "overlay", Options: all}}
	r.Image, _ = Lower(r.Container)
	r.root = mountOverlay(t, sub("merged"), all)
	return r
}

func mountOverlay(t testing.TB, at string, options []string) string {
	t.Helper()
	must(t, unix.Mount("overlay", at, "overlay", 0, strings.Join(options, ",")))
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	return at
}

func run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

func (r *rig) sh(t testing.TB, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// list returns the changes as docker diff prints them.
func (r *rig) list(t testing.TB) []string {
	t.Helper()
	found, err := List(t.Context(), r.Source)
	must(t, err)
	var lines []string
	for _, c := range found {
		lines = append(lines, fmt.Sprintf("%s %s", "CAD"[c.Kind:c.Kind+1], c.Path))
	}
	return lines
}

// layer returns the tar of the changes.
func (r *rig) layer(t testing.TB) []byte {
	t.Helper()
	for {
		var b bytes.Buffer
		_, err := WriteLayer(t.Context(), &b, r.Source)
		if err == nil {
			return b.Bytes()
		}
		if !errors.Is(err, ErrRedirected) || r.Merged {
			t.Fatal(err)
		}
		r.Merged = true
	}
}

// committed returns a copy of the image with the layer unpacked into it.
func (r *rig) committed(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "committed")
	run(t, "cp", "-a", r.image, dir)
	_, err := ctrarchive.Apply(t.Context(), dir, bytes.NewReader(r.layer(t)))
	must(t, err)
	return dir
}

// tree describes each file below a directory.
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	files, names := map[string]string{}, map[uint64][]string{}
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err := errors.Join(err, unix.Lstat(path, &st)); err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, root)
		typ := st.Mode & unix.S_IFMT
		if rel == "" || typ == unix.S_IFSOCK {
			return nil
		}
		line := fmt.Sprintf("%o %d:%d rdev %d", st.Mode, st.Uid, st.Gid, st.Rdev)
		if typ != unix.S_IFDIR {
			line += fmt.Sprintf(" time %d", st.Mtim.Sec)
			names[st.Ino] = append(names[st.Ino], rel)
		}
		switch typ {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" content %q", data)
		case unix.S_IFLNK:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + link
		}
		dir, err := openPath(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer dir.Close()
		attributes, err := (*overlay)(nil).attributes(dir, filepath.Base(path))
		if err != nil {
			return err
		}
		for _, n := range slices.Sorted(maps.Keys(attributes)) {
			line += fmt.Sprintf(" %s=%q", n, attributes[n])
		}
		files[rel] = line
		return nil
	}))
	for _, of := range names {
		for _, name := range of {
			files[name] += fmt.Sprintf(" one file: %q", of)
		}
	}
	return files
}

func sameTrees(t testing.TB, what string, is, want map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if is[path] != want[path] {
			t.Errorf("%s: %s is\n\t%q, and not\n\t%q", what, path, is[path], want[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(is)) {
		if want[path] == "" {
			t.Errorf("%s: %s is there: %q", what, path, is[path])
		}
	}
}

// kinds are the ways in which a container's files are kept.
var kinds = map[string][]string{
	"native":    nil,
	"overlayfs": {"index=off"},
	"redirects": {"redirect_dir=on,metacopy=on"},
}

// capability is cap_net_raw+ep (Linux, include/uapi/linux/capability.h, struct vfs_cap_data).
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func TestChanges(t *testing.T) {
	for name, options := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(dir string, layer int) {
				if layer == 0 {
					return
				}
				in := &rig{root: dir}
				in.sh(t, `mkdir -p a/deep/er b/empty c opaque gone/sub etc own
					echo 1 >a/deep/er/file; echo 2 >a/two; ln a/two a/three; ln -s nowhere dangling; ln -s /etc outside
					echo x >opaque/x; echo y >opaque/y; echo g >gone/sub/f; mkdir -p opaque/in; echo i >opaque/in/i; echo f >file; echo h >touched; echo r >restored
					touch -d @1000000000 restored touched; echo dir >c/d; echo m >moved; mkdir -p renamed/in; echo s >renamed/in/s
					echo cap >cap; echo x >xattr`)
			}, options...)
			r.sh(t, `echo new >a/deep/er/new; chmod 700 b; rm dangling; rm outside; mkdir outside; echo 1 >outside/passwd
				rm -r opaque; mkdir -p opaque/in; echo z >opaque/z; rm -r gone; rm file; mkdir file; echo i >file/inner
				: >>touched; touch -d @1000000000 touched; printf 'R\n' >restored; touch -d @1000000000 restored
				rm -r c; echo file >c; echo two >a/two; chown 12:34 own
				mv moved moved2; ln a/deep/er/file linked; mknod device c 5 1; mkfifo fifo; ln -s / link; mv renamed renamed2
				mkdir -p proc sys dev; touch etc/hosts etc/hostname; echo 1 >proc/x
				python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'`)
			must(t, unix.Setxattr(r.root+"/xattr", "user.a", []byte("b"), 0))
			must(t, unix.Setxattr(r.root+"/cap", "security.capability", []byte(capability), 0))
			want := strings.Split(`C /a|C /a/deep|C /a/deep/er|A /a/deep/er/new|C /a/three|C /a/two|C /b|C /c|C /cap|`+
				`D /dangling|A /device|A /fifo|C /file|A /file/inner|D /gone|A /link|A /linked|D /moved|A /moved2|C /opaque|`+
				`C /opaque/in|D /opaque/in/i|D /opaque/x|D /opaque/y|A /opaque/z|C /outside|A /outside/passwd|C /own|C /proc|A /proc/x|D /renamed|`+
				`A /renamed2|A /renamed2/in|A /renamed2/in/s|C /restored|A /socket|C /xattr`, "|")
			if options != nil { // without an index, overlayfs gives the file behind one name a copy of its own
				want = slices.DeleteFunc(want, func(l string) bool { return l == "C /a/three" })
			}
			if got := r.list(t); !slices.Equal(got, want) {
				t.Errorf("is   %q\nwant %q", got, want)
			}
			now := tree(t, r.root)
			for _, own := range []string{"/sys", "/dev", "/etc/hosts", "/etc/hostname"} { // the next container gets its own
				delete(now, own)
			}
			sameTrees(t, "committed", tree(t, r.committed(t)), now)
		})
	}
}

// change changes a random file of a tree, as a container might. What the kernel refuses stays as it was.
func change(rnd *rand.Rand, root string) {
	name := func() string {
		path := root
		for range 1 + rnd.IntN(3) {
			path += "/" + string(rune('a'+rnd.IntN(4)))
		}
		return path
	}
	file, other := name(), name()
	for _, path := range []string{file, other} { // to open a FIFO as a directory would wait for a writer
		if st, err := os.Lstat(filepath.Dir(path)); err == nil && !st.IsDir() {
			return
		}
	}
	text := []byte(strings.Repeat(string(rune('0'+rnd.IntN(10))), rnd.IntN(3)))
	at := unix.NsecToTimespec(1_000_000_000_000_000_000 + rnd.Int64N(2)*500)
	switch rnd.IntN(18) {
	case 0, 1:
		_ = os.MkdirAll(file, 0o755)
	case 2, 3, 4:
		_ = writeTo(file, os.O_CREATE|os.O_TRUNC, text)
	case 5:
		_ = os.RemoveAll(file)
	case 6, 7:
		_ = os.Rename(file, other)
	case 8:
		_ = os.Link(file, other)
	case 9:
		_ = os.Symlink(filepath.Base(other), file)
	case 10:
		_ = unix.Mknod(file, unix.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(3+rnd.IntN(2)))))
	case 11:
		_ = unix.Mkfifo(file, 0o600)
	case 12:
		_ = unix.Lchown(file, rnd.IntN(2), rnd.IntN(2))
	case 13:
		_ = unix.Fchmodat(unix.AT_FDCWD, file, uint32(0o700+rnd.IntN(2)*0o4011), unix.AT_SYMLINK_NOFOLLOW)
	case 14: // no layer can take an attribute away from a directory, so directories have none
		if st, err := os.Lstat(file); err == nil && !st.IsDir() {
			_ = unix.Lsetxattr(file, "user.a", text, 0)
		}
	case 15:
		_ = unix.Lsetxattr(file, "trusted.b", text, 0)
	case 16: // opened for writing, and perhaps not written
		_ = writeTo(file, 0, text)
	case 17:
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, file, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	}
}

// writeTo does not wait for the reader of a FIFO.
func writeTo(file string, flags int, text []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|unix.O_NONBLOCK|flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// TestRandomChanges checks layers of random changes: unpacked on the image, each gives the container's tree. The list of
// the changes has each file that differs, and no other.
func TestRandomChanges(t *testing.T) {
	for name, options := range kinds {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				rnd := rand.New(rand.NewPCG(seed, 0))
				r := newRig(t, func(dir string, _ int) {
					for range 150 {
						change(rnd, dir)
					}
				}, options...)
				for range 60 {
					change(rnd, r.root)
				}
				was, now := tree(t, r.image), tree(t, r.root)
				sameTrees(t, fmt.Sprintf("seed %d, committed", seed), tree(t, r.committed(t)), now)
				listed := map[string]string{}
				for _, line := range r.list(t) {
					listed[line[2:]] = line[:1]
				}
				for path := range maps.Keys(now) {
					if was[path] == "" && listed[path] != "A" {
						t.Errorf("seed %d: %s is new, and listed as %q", seed, path, listed[path])
					}
					if was[path] != "" && unlinked(was[path]) != unlinked(now[path]) && listed[path] != "C" {
						t.Errorf("seed %d: %s is another file, and listed as %q", seed, path, listed[path])
					}
				}
				for path, kind := range listed {
					if (kind == "D") != (now[path] == "") || (kind == "A") != (was[path] == "") {
						t.Errorf("seed %d: %s is listed as %q, was %q, is %q", seed, path, kind, was[path], now[path])
					}
				}
			}
		})
	}
}

// unlinked is a file's description without its other names.
func unlinked(line string) string {
	line, _, _ = strings.Cut(line, " one file")
	return line
}

// TestMountedTree reads a running container's files by the mount that is there: a second one with the same upper directory
// would be undefined. The files of a stopped container are mounted read-only.
func TestMountedTree(t *testing.T) {
	r := newRig(t, func(dir string, layer int) { must(t, os.Mkdir(fmt.Sprintf("%s/%d", dir, layer), 0o755)) }, "index=off")
	device := func() uint64 {
		root, err := openTree(r.Container)
		must(t, err)
		defer root.Close()
		var st unix.Stat_t
		must(t, unix.Fstat(int(root.Fd()), &st))
		if names, err := root.Readdirnames(-1); err != nil || len(names) < 2 {
			t.Errorf("%q, %v", names, err)
		}
		return st.Dev
	}
	var mounted unix.Stat_t
	must(t, unix.Stat(r.root, &mounted))
	if device() != mounted.Dev {
		t.Error("the overlay was mounted a second time")
	}
	must(t, unix.Unmount(r.root, 0))
	if device() == 0 {
		t.Error("nothing is mounted")
	}
}

// TestHostileContainer reads trees while directories are swapped for links to the host's, and files for FIFOs. Nothing of
// the host gets into an archive, and no archive hangs.
func TestHostileContainer(t *testing.T) {
	host := t.TempDir()
	must(t, os.WriteFile(host+"/file", []byte("secret"), 0o644))
	r := newRig(t, func(dir string, _ int) {
		must(t, os.MkdirAll(dir+"/d", 0o755))
		must(t, os.WriteFile(dir+"/d/file", []byte("1"), 0o644))
	}, "index=off")
	ctx, cancel := context.WithCancel(t.Context())
	var swaps sync.WaitGroup
	swaps.Go(func() {
		for ctx.Err() == nil {
			_ = os.Rename(r.root+"/x", r.root+"/y")
			_ = os.MkdirAll(r.root+"/x", 0o755)
			_ = os.WriteFile(r.root+"/x/file", []byte("2"), 0o644)
			_ = os.RemoveAll(r.root + "/y")
			_ = os.RemoveAll(r.root + "/x")
			_ = os.Symlink(host, r.root+"/x")
			_ = os.Remove(r.root + "/x")
			_ = unix.Mkfifo(r.root+"/x", 0o600)
			_ = os.Remove(r.root + "/x")
		}
	})
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		for _, write := range []func(io.Writer) error{
			func(w io.Writer) error { return Export(ctx, w, r.Container) },
			func(w io.Writer) error { _, err := WriteLayer(ctx, w, r.Source); return err },
			func(io.Writer) error { _, err := List(ctx, r.Source); return err },
		} {
			var out bytes.Buffer
			if err := write(&out); err != nil || bytes.Contains(out.Bytes(), []byte("secret")) {
				t.Errorf("%v, with the host's file: %v", err, bytes.Contains(out.Bytes(), []byte("secret")))
			}
		}
	}
	cancel()
	swaps.Wait()
}
