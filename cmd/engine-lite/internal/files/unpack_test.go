package files

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func unpack(t testing.TB, r *Root, path string, o UnpackOptions, list ...entry) error {
	t.Helper()
	return r.Unpack(t.Context(), path, archiveOf(t, list...), o)
}

func status(t testing.TB, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return info.Sys().(*syscall.Stat_t)
}

// TestUnpackKeeps unpacks what Pack has packed, and gets the same.
func TestUnpackKeeps(t *testing.T) {
	b := newBox(t)
	mtime := time.Unix(1_500_000_000, 123456789)
	describe := func(e entry, mode int64) entry {
		e.Mode, e.Uid, e.Gid, e.ModTime, e.Format = mode, 7, 8, mtime, tar.FormatPAX
		e.PAXRecords = map[string]string{xattrRecord + "user.a": "b\x00"}
		return e
	}
	bare := func(e entry, mode int64) entry {
		e = describe(e, mode)
		e.PAXRecords = nil
		return e
	}
	device := bare(other(tar.TypeChar, "d/dev", ""), 0o640)
	device.Devmajor, device.Devminor = 1, 3
	r := b.open()
	must(t, unpack(t, r, "/tmp", UnpackOptions{},
		describe(other(tar.TypeDir, "d", ""), 0o1770), describe(file("d/file", "text"), 0o4755),
		describe(other(tar.TypeLink, "d/link", "d/file"), 0o4755), bare(other(tar.TypeSymlink, "d/sym", "/file"), 0o777),
		bare(other(tar.TypeFifo, "d/fifo", ""), 0o622), device, file("implied/a\nb", "x"),
	))
	st := status(t, b.path("upper/tmp/d/file"))
	if st.Mode != unix.S_IFREG|0o4755 || st.Uid != 7 || st.Gid != 8 || st.Nlink != 2 ||
		st.Mtim.Nano() != mtime.UnixNano() {
		t.Errorf("the file: %+v", st)
	}
	if st := status(t, b.path("upper/tmp/d")); st.Mode != unix.S_IFDIR|0o1770 || st.Mtim.Nano() != mtime.UnixNano() {
		t.Errorf("the directory: %+v", st)
	}
	if st := status(t, b.path("upper/tmp/d/sym")); st.Uid != 7 || st.Mtim.Nano() != mtime.UnixNano() {
		t.Errorf("the link: %+v", st)
	}
	if st := status(t, b.path("upper/tmp/d/dev")); st.Mode != unix.S_IFCHR|0o640 || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("the device: %+v", st)
	}
	if st := status(t, b.path("upper/tmp/d/fifo")); st.Mode != unix.S_IFIFO|0o622 {
		t.Errorf("the fifo: %+v", st)
	}
	if st := status(t, b.path("upper/tmp/implied")); st.Mode != unix.S_IFDIR|0o755 {
		t.Errorf("a directory that is not in the archive: %+v", st)
	}
	got := pack(t, r, "/tmp/d")
	if f := got["d/file"]; f.text != "text" || f.PAXRecords[xattrRecord+"user.a"] != "b\x00" || !f.ModTime.Equal(mtime) {
		t.Errorf("packed again: %+v", f)
	}
}

// TestUnpackHoles unpacks zeros: they take no room, whether they are in the middle or at the end.
func TestUnpackHoles(t *testing.T) {
	b := newBox(t)
	hole := strings.Repeat("\x00", 1<<20)
	must(t, unpack(t, b.open(), "/", UnpackOptions{},
		file("a", "x"+hole+"y"), file("b", "x"+hole), file("c", hole), file("d", hole[:5])))
	for name, want := range map[string]string{"a": "x" + hole + "y", "b": "x" + hole, "c": hole, "d": hole[:5]} {
		if b.read("upper/"+name) != want {
			t.Errorf("%s has another content", name)
		}
		if st := status(t, b.path("upper/"+name)); st.Blocks*512 > 256<<10 {
			t.Errorf("%s takes %d blocks", name, st.Blocks)
		}
	}
}

// TestUnpackReplaces unpacks over what is there.
func TestUnpackReplaces(t *testing.T) {
	b := newBox(t)
	b.write("lower/tmp/file", "old")
	must(t, os.MkdirAll(b.path("lower/tmp/dir/sub"), 0o755))
	b.write("lower/tmp/dir/sub/old", "old")
	must(t, os.Symlink("/etc/passwd", b.path("lower/tmp/link")))
	r := b.open()
	keep := UnpackOptions{KeepKind: true}
	for want, e := range map[string]entry{
		`cannot overwrite directory "dir" with non-directory "/tmp"`:  file("dir", ""),
		`cannot overwrite non-directory "file" with directory "/tmp"`: other(tar.TypeDir, "file", ""),
	} {
		if err := unpack(t, r, "/tmp", keep, e); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	must(t, unpack(t, r, "/tmp", keep,
		file("file", "new"), other(tar.TypeDir, "dir", ""), file("dir/sub/new", "new"), file("link", "new")))
	if b.read("upper/tmp/file")+b.read("upper/tmp/dir/sub/new")+b.read("upper/tmp/link") != "newnewnew" {
		t.Error("not all is new")
	}
	if got := pack(t, r, "/tmp/dir"); got["dir/sub/old"].text != "old" {
		t.Errorf("a directory has not kept what it had: %v", got)
	}
	if got := pack(t, r, "/etc/passwd"); !strings.HasPrefix(got["passwd"].text, "root") {
		t.Errorf("what a link led to has changed: %q", got["passwd"].text)
	}
	must(t, unpack(t, r, "/tmp", UnpackOptions{},
		file("dir/sub/before", ""), file("dir", "a file"), other(tar.TypeDir, "file", ""), file("file/in", "x")))
	if b.read("upper/tmp/dir") != "a file" || b.read("upper/tmp/file/in") != "x" {
		t.Error("kinds are not replaced")
	}
	// A directory of the archive that becomes a link: what follows goes where the link leads to.
	must(t, unpack(t, r, "/tmp", UnpackOptions{},
		file("d/e/a", ""), other(tar.TypeSymlink, "d", "/bar"), file("d/e/b", "x")))
	if b.read("upper/bar/e/b") != "x" {
		t.Error("a link in place of a directory is not followed")
	}
}

// TestUnpackRefuses has archives and paths that are wrong.
func TestUnpackRefuses(t *testing.T) {
	b := newBox(t)
	r := b.open()
	farDevice := entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "a", Devmajor: 1 << 32, Format: tar.FormatGNU}}
	noUser := entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "a", Uid: -5, Format: tar.FormatGNU}}
	for want, list := range map[string][]entry{
		`invalid entry name "../x"`:                                {file("../x", "")},
		`invalid entry name "/a/../../x"`:                          {file("/a/../../x", "")},
		`invalid hardlink target "../x"`:                           {other(tar.TypeLink, "a", "../x")},
		`invalid hardlink target "/"`:                              {other(tar.TypeLink, "a", "/")},
		`unhandled tar header type 55`:                             {other(tar.TypeCont, "a", "")},
		`device number 4294967296:0 of "a" is`:                     {farDevice},
		`failed to Lchown "a" for UID -5, GID 0: invalid argument`: {noUser},
		`link none a: no such file or directory`:                   {other(tar.TypeLink, "a", "none")},
	} {
		err := unpack(t, r, "/tmp", UnpackOptions{}, list...)
		if err == nil || !strings.HasPrefix(err.Error(), want) || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	rubbish := strings.NewReader(strings.Repeat("rubbish", 1000))
	if err := r.Unpack(t.Context(), "/tmp", rubbish, UnpackOptions{}); !errors.Is(err, tar.ErrHeader) {
		t.Errorf("rubbish: %v", err)
	}
	whole, err := io.ReadAll(archiveOf(t, file("cut", strings.Repeat("x", 5000))))
	must(t, err)
	err = r.Unpack(t.Context(), "/tmp", bytes.NewReader(whole[:2000]), UnpackOptions{})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an archive that is cut off: %v", err)
	}
	for path, want := range map[string]string{
		"/foo": "extraction point is not a directory", "/foo/": "lstat /foo/: not a directory",
		"/foo/.": "lstat /foo/.: not a directory", "/bar/filesymlink": "extraction point is not a directory",
		"/none": "lstat /none: no such file or directory", "/bar/notarget": "lstat /bar/notexist: no such file or directory",
	} {
		if err := unpack(t, r, path, UnpackOptions{}, file("x", "")); err == nil || err.Error() != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"/bar/dirsymlink", "bar/dirsymlink/", "bar/quux/.", "/bar/root/bar/quux"} {
		must(t, unpack(t, r, path, UnpackOptions{}, file("x", path)))
		if b.read("upper/bar/quux/x") != path {
			t.Errorf("%s leads elsewhere", path)
		}
	}
	must(t, r.Unpack(t.Context(), "/tmp", strings.NewReader(""), UnpackOptions{}))
}

// TestUnpackThroughLinks has directories of entries behind links that lead to what is not there: it is made, in the
// container. A link that leads nowhere at all is an error.
func TestUnpackThroughLinks(t *testing.T) {
	b := newBox(t)
	r := b.open()
	must(t, unpack(t, r, "/", UnpackOptions{},
		other(tar.TypeSymlink, "absolute", "/made/a"), file("absolute/f", "1"),
		other(tar.TypeSymlink, "tmp/relative", "../made/b"), file("tmp/relative/f", "2"),
		other(tar.TypeSymlink, "outside", "../../../../../../made/c"), file("outside/deep/f", "3")))
	for path, want := range map[string]string{"made/a/f": "1", "made/b/f": "2", "made/c/deep/f": "3"} {
		if got := b.read("upper/" + path); got != want {
			t.Errorf("%s has %q", path, got)
		}
	}
	err := unpack(t, r, "/", UnpackOptions{}, other(tar.TypeSymlink, "loop", "loop"), file("loop/f", ""))
	if err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link to itself: %v", err)
	}
}

// TestUnpackReadOnly has read-only roots and mounts, in dockerd's words and enforced by the kernel.
func TestUnpackReadOnly(t *testing.T) {
	b := newBox(t)
	b.readOnly = true
	b.bind(b.host, "/rw")
	b.bind(b.host, "/rw/ro", "ro")
	b.bind(b.host, "/rw/ro/rw", "ro", "rw")
	for _, dir := range []string{"ro", "rw"} { // the mount points
		must(t, os.Mkdir(b.path("host/"+dir), 0o755))
	}
	must(t, os.Symlink("/etc", b.path("host/link")))
	r := b.open()
	for path, want := range map[string]string{
		"/": "container rootfs is marked read-only", "/etc": "container rootfs is marked read-only", "/rw": "",
		"/rw/ro": "mounted volume is marked read-only", "/rw/ro/rw": "",
	} {
		switch err := unpack(t, r, path, UnpackOptions{}, file("x", "y")); {
		case want == "" && err != nil, want != "" && (!errdefs.IsInvalidArgument(err) || err.Error() != want):
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := unpack(t, r, "/rw", UnpackOptions{}, file("link/x", "y")); !errors.Is(err, unix.EROFS) {
		t.Errorf("through a link: %v", err)
	}
	if b.read("host/x") != "y" {
		t.Error("nothing was written to the mount")
	}
}

// TestUnpackOwner gives all files to one user.
func TestUnpackOwner(t *testing.T) {
	b := newBox(t)
	must(t, unpack(t, b.open(), "/", UnpackOptions{Owner: &Owner{3, 4}},
		other(tar.TypeDir, "d", ""), file("d/f", ""), other(tar.TypeSymlink, "d/l", "x")))
	for _, name := range []string{"d", "d/f", "d/l"} {
		if st := status(t, b.path("upper/"+name)); st.Uid != 3 || st.Gid != 4 {
			t.Errorf("%s: %d:%d", name, st.Uid, st.Gid)
		}
	}
}

// TestUnpackMany unpacks 10,000 files in 100 directories, and packs them again. Their names have newlines.
func TestUnpackMany(t *testing.T) {
	b := newBox(t)
	var list []entry
	for i := range 10_000 {
		list = append(list, file(fmt.Sprintf("d\n%d/f\n%d", i%100, i), "x"))
	}
	r := b.open()
	must(t, unpack(t, r, "/tmp", UnpackOptions{}, list...))
	if got := pack(t, r, "/tmp"); len(got) != 10_101 {
		t.Errorf("%d entries", len(got))
	}
}

// TestUnpackEnds ends a copy in the middle, by its context. What was unpacked so far stays.
func TestUnpackEnds(t *testing.T) {
	b := newBox(t)
	r := b.open()
	ctx, cancel := context.WithCancel(t.Context())
	from, to := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		w := tar.NewWriter(to)
		_ = w.WriteHeader(&tar.Header{Name: "first", Typeflag: tar.TypeReg, Mode: 0o644})
		_ = w.WriteHeader(&tar.Header{Name: "large", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1 << 40})
		_, _ = w.Write(make([]byte, copySize))
		cancel()
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, copySize))
		}
	}()
	err := r.Unpack(ctx, "/tmp", from, UnpackOptions{})
	_ = from.Close()
	<-written
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if b.read("upper/tmp/first") != "" || filepath.Base(b.upper) != "upper" {
		t.Error("the first file")
	}
}
