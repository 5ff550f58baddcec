package files

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPackNames has the names that dockerd gives to the entries of an archive.
func TestPackNames(t *testing.T) {
	r := newBox(t).open()
	all := []string{
		"bar/", "bar/dirsymlink", "bar/filesymlink", "bar/notarget", "bar/quux/", "bar/quux/baz", "bar/root", "etc/",
		"etc/passwd", "foo", "tmp/",
	}
	below := func(prefix string) []string {
		list := []string{prefix}
		for _, name := range all {
			list = append(list, prefix+name)
		}
		return list
	}
	for path, want := range map[string][]string{
		"/": below("/"), ".": below("./"), "/.": below("./"), "./": below("./"), "/./": below("./"),
		"/bar/root": {"root"}, "/bar/root/": below("root/"), "/bar/root/.": below("./"),
		"bar/quux": {"quux/", "quux/baz"}, "bar/quux/": {"quux/", "quux/baz"}, "bar/quux/.": {"./", "./baz"},
		"bar/quux/baz": {"baz"}, "bar/filesymlink": {"filesymlink"}, "bar/dirsymlink": {"dirsymlink"},
		"bar/dirsymlink/": {"dirsymlink/", "dirsymlink/baz"}, "bar/dirsymlink/.": {"./", "./baz"},
		"bar/notarget": {"notarget"}, "../../bar/quux/baz": {"baz"}, "/bar/dirsymlink/baz": {"baz"},
	} {
		if got := slices.Sorted(maps.Keys(pack(t, r, path))); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]error{
		"/foo/": unix.ENOTDIR, "/foo/.": unix.ENOTDIR, "/none": os.ErrNotExist, "/bar/notarget/": os.ErrNotExist,
		"/a\x00b": unix.EINVAL,
	} {
		if err := r.Pack(t.Context(), path, io.Discard); !errors.Is(err, want) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

// TestPackKeeps copies one of each kind of file.
func TestPackKeeps(t *testing.T) {
	b := newBox(t)
	at := b.path("upper/d")
	must(t, os.Mkdir(at, 0o755))
	mtime := time.Unix(1_500_000_000, 123456789)
	in := func(name string) string { return filepath.Join(at, name) }
	must(t, os.WriteFile(in("file"), []byte("text"), 0o600))
	must(t, os.Chown(in("file"), 7, 8))
	must(t, unix.Chmod(in("file"), 0o4751))
	must(t, os.Link(in("file"), in("link")))
	must(t, unix.Setxattr(in("file"), "user.a", []byte("\x00b\n"), 0))
	must(t, unix.Setxattr(in("file"), "trusted.t", []byte("c"), 0))
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	must(t, unix.Setxattr(in("file"), "security.capability", capability, 0))
	must(t, os.Chtimes(in("file"), mtime, mtime))
	must(t, unix.Mkfifo(in("fifo"), 0o644))
	must(t, unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Symlink("../x\ny", in("sym\nlink")))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(socket)
	must(t, unix.Bind(socket, &unix.SockaddrUnix{Name: in("socket")}))
	long := strings.Repeat("l", 255)
	must(t, os.WriteFile(in(long), nil, 0o644))
	got := pack(t, b.open(), "/d")
	names := []string{"d/", "d/fifo", "d/file", "d/link", "d/null", "d/sym\nlink", "d/" + long}
	slices.Sort(names)
	if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, names) {
		t.Fatalf("%q", have)
	}
	f := got["d/file"]
	if f.text != "text" || f.Mode != 0o4751 || f.Uid != 7 || f.Gid != 8 || !f.ModTime.Equal(mtime) {
		t.Errorf("the file: %+v", f)
	}
	if x := f.PAXRecords; x[xattrRecord+"user.a"] != "\x00b\n" ||
		x[xattrRecord+"security.capability"] != string(capability) || x[xattrRecord+"trusted.t"] != "" {
		t.Errorf("the attributes: %q", x)
	}
	if l := got["d/link"]; l.Typeflag != tar.TypeLink || l.Linkname != "d/file" {
		t.Errorf("the hard link: %+v", l)
	}
	if n := got["d/null"]; n.Typeflag != tar.TypeChar || n.Devmajor != 1 || n.Devminor != 3 {
		t.Errorf("the device: %+v", n)
	}
	if got["d/fifo"].Typeflag != tar.TypeFifo || got["d/sym\nlink"].Linkname != "../x\ny" {
		t.Errorf("%+v", got)
	}
}

// TestPackLinksOfMounts has two files with one number on two filesystems: they are no hard links.
func TestPackLinksOfMounts(t *testing.T) {
	b := newBox(t)
	for _, name := range []string{"one", "two"} {
		dir := b.path(name)
		must(t, os.Mkdir(dir, 0o755))
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
		t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
		b.write(name+"/a", name)
		must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
		b.bind(dir, "/v/"+name)
	}
	got := pack(t, b.open(), "/v")
	if got["v/one/a"].text != "one" || got["v/two/a"].text != "two" || got["v/two/b"].Linkname != "v/two/a" {
		t.Errorf("%+v", got)
	}
}

// TestPackLarge copies a sparse file of 128 MiB out and in: the memory is that of a small one.
func TestPackLarge(t *testing.T) {
	b := newBox(t)
	b.write("upper/large", "x")
	const size = 128 << 20
	must(t, os.Truncate(b.path("upper/large"), size))
	r := b.open()
	from, to := io.Pipe()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var packing sync.WaitGroup
	packing.Go(func() { _ = to.CloseWithError(r.Pack(t.Context(), "/large", to)) })
	must(t, r.Unpack(t.Context(), "/tmp", from, UnpackOptions{}))
	_, err := io.Copy(io.Discard, from) // what is behind the end of the archive
	packing.Wait()
	must(t, err)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("a copy of 128 MiB allocates %d bytes", n)
	}
	if st := status(t, b.path("upper/tmp/large")); st.Size != size || st.Blocks*512 > 1<<20 {
		t.Errorf("the copy has %d bytes in %d blocks", st.Size, st.Blocks)
	}
}

// TestPackShrinks has a file that becomes shorter while it is copied, and one that grows.
func TestPackShrinks(t *testing.T) {
	b := newBox(t)
	b.write("upper/file", strings.Repeat("x", 4*copySize))
	r := b.open()
	var whole bytes.Buffer
	large, err := os.OpenFile(b.path("upper/file"), os.O_WRONLY, 0) // a write of the archive does not see the host's files
	must(t, err)
	defer large.Close()
	first := true
	must(t, r.Pack(t.Context(), "/file", writer(func(p []byte) (int, error) {
		if first {
			if err := large.Truncate(3 * copySize); err != nil {
				return 0, err
			}
			first = false
		}
		return whole.Write(p)
	})))
	f := entries(t, &whole)["file"]
	if len(f.text) != 4*copySize || !strings.HasSuffix(f.text, "x"+strings.Repeat("\x00", copySize)) {
		t.Errorf("%d bytes", len(f.text))
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestPackEnds ends a copy in the middle: by its context, and by its writer.
func TestPackEnds(t *testing.T) {
	b := newBox(t)
	b.write("upper/file", strings.Repeat("x", 4*copySize))
	r := b.open()
	ctx, cancel := context.WithCancel(t.Context())
	if err := r.Pack(ctx, "/file", writer(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})); !errors.Is(err, context.Canceled) {
		t.Errorf("the context: %v", err)
	}
	broken := errors.New("broken")
	breaks := writer(func([]byte) (int, error) { return 0, broken })
	if err := r.Pack(t.Context(), "/file", breaks); !errors.Is(err, broken) {
		t.Errorf("the writer: %v", err)
	}
}
