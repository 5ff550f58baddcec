package changes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
					echo x >opaque/x; echo y >opaque/y; echo g >gone/sub/f; echo f >file; echo h >touched; echo r >restored
					touch -d @1000000000 restored touched; echo dir >c/d; echo m >moved; mkdir -p renamed/in; echo s >renamed/in/s
					echo cap >cap; echo x >xattr`)
			}, options...)
			r.sh(t, `echo new >a/deep/er/new; chmod 700 b; rm dangling; rm outside; mkdir outside; echo 1 >outside/passwd
				rm -r opaque; mkdir opaque; echo z >opaque/z; rm -r gone; rm file; mkdir file; echo i >file/inner
				: >>touched; touch -d @1000000000 touched; printf 'R\n' >restored; touch -d @1000000000 restored
				rm -r c; echo file >c; echo two >a/two; chown 12:34 own
				mv moved moved2; ln a/deep/er/file linked; mknod device c 5 1; mkfifo fifo; ln -s / link; mv renamed renamed2
				mkdir -p proc sys dev; touch etc/hosts etc/hostname; echo 1 >proc/x
				python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'`)
			must(t, unix.Setxattr(r.root+"/xattr", "user.a", []byte("b"), 0))
			must(t, unix.Setxattr(r.root+"/cap", "security.capability", []byte(capability), 0))
			want := strings.Split(`C /a|C /a/deep|C /a/deep/er|A /a/deep/er/new|C /a/three|C /a/two|C /b|C /c|C /cap|`+
				`D /dangling|A /device|A /fifo|C /file|A /file/inner|D /gone|A /link|A /linked|D /moved|A /moved2|C /opaque|`+
				`D /opaque/x|D /opaque/y|A /opaque/z|C /outside|A /outside/passwd|C /own|C /proc|A /proc/x|D /renamed|`+
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
