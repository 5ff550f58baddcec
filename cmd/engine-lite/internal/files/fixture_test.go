package files

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(childVariable); config != "" {
		if err := child(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// box is a container's root filesystem: an overlay with a lower and an upper directory on a tmpfs, and a directory of
// the host beside them.
type box struct {
	t                       testing.TB
	lower, upper, dir, host string
	rootfs                  []mount.Mount
	mounts                  []specs.Mount
	readOnly                bool
}

func newBox(t testing.TB) *box {
	t.Helper()
	base := t.TempDir()
	must(t, unix.Mount("tmpfs", base, "tmpfs", 0, "size=256m"))
	t.Cleanup(func() {
		// A copy of the overlay is gone when its Root is closed: else the tmpfs would be busy.
		must(t, unix.Unmount(base, 0))
	})
	return fillBox(t, base)
}

// fillBox makes a box in a directory.
func fillBox(t testing.TB, base string) *box {
	t.Helper()
	b := &box{t: t}
	for name, dir := range map[string]*string{"lower": &b.lower, "upper": &b.upper, "dir": &b.dir, "host": &b.host} {
		*dir = filepath.Join(base, name)
		must(t, os.Mkdir(*dir, 0o755))
	}
	work := filepath.Join(base, "work")
	must(t, os.Mkdir(work, 0o755))
	b.rootfs = []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{
		"workdir=" + work, "upperdir=" + b.upper, "lowerdir=" + b.lower,
	}}}
	for _, dir := range []string{"etc", "tmp", "bar/quux"} {
		must(t, os.MkdirAll(filepath.Join(b.lower, dir), 0o755))
	}
	b.write("lower/etc/passwd", "root:x:0:0::/:/bin/sh\n")
	b.write("lower/foo", "hello")
	b.write("lower/bar/quux/baz", "world")
	for link, to := range map[string]string{
		"bar/notarget": "notexist", "bar/filesymlink": "quux/baz", "bar/dirsymlink": "quux", "bar/root": "/",
	} {
		must(t, os.Symlink(to, filepath.Join(b.lower, link)))
	}
	return b
}

// path is a path below the directories of the box.
func (b *box) path(name string) string { return filepath.Join(filepath.Dir(b.lower), name) }

func (b *box) write(name, text string) {
	b.t.Helper()
	must(b.t, os.WriteFile(b.path(name), []byte(text), 0o644))
}

func (b *box) read(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(b.path(name))
	must(b.t, err)
	return string(text)
}

func (b *box) config() Config {
	return Config{Dir: b.dir, Rootfs: b.rootfs, Mounts: b.mounts, ReadOnly: b.readOnly}
}

// bind adds a bind mount.
func (b *box) bind(source, at string, options ...string) {
	b.mounts = append(b.mounts, specs.Mount{
		Type: "bind", Source: source, Destination: at, Options: append([]string{"rbind"}, options...),
	})
}

// open opens the files until the test's end.
func (b *box) open() *Root {
	b.t.Helper()
	r, err := Open(b.config())
	must(b.t, err)
	b.t.Cleanup(func() { must(b.t, r.Close()) })
	return r
}

// mounted is the overlay mounted on the host, as a running container has it, until the test's end.
func (b *box) mounted() string {
	b.t.Helper()
	at := b.path("mounted")
	must(b.t, os.Mkdir(at, 0o755))
	must(b.t, unix.Mount("overlay", at, "overlay", 0, strings.Join(b.rootfs[0].Options, ",")))
	b.t.Cleanup(func() { must(b.t, unix.Unmount(at, 0)) })
	return at
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entry is an entry of an archive with its content.
type entry struct {
	tar.Header
	text string
}

func archiveOf(t testing.TB, entries ...entry) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.text))
		if e.Mode == 0 {
			e.Mode = 0o755
		}
		must(t, w.WriteHeader(&e.Header))
		_, err := w.Write([]byte(e.text))
		must(t, err)
	}
	must(t, w.Close())
	return &b
}

func file(name, text string) entry { return entry{tar.Header{Typeflag: tar.TypeReg, Name: name}, text} }

func other(kind byte, name, link string) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: link}}
}

// pack returns the entries of an archive of a path, by name.
func pack(t testing.TB, r *Root, path string) map[string]entry {
	t.Helper()
	var b bytes.Buffer
	must(t, r.Pack(t.Context(), path, &b))
	return entries(t, &b)
}

func entries(t testing.TB, archive io.Reader) map[string]entry {
	t.Helper()
	found := map[string]entry{}
	for tr := tar.NewReader(archive); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		must(t, err)
		text, err := io.ReadAll(tr)
		must(t, err)
		if _, ok := found[h.Name]; ok {
			t.Errorf("%q is twice in the archive", h.Name)
		}
		found[h.Name] = entry{*h, string(text)}
	}
}
