package fifo

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// The files that may be at the path of a stream.
var placed = []func(path string) error{
	func(string) error { return nil }, // nothing
	func(path string) error { return unix.Mkfifo(path, 0o600) },
	func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	func(path string) error { return os.Mkdir(path, 0o700) },
	func(path string) error { return os.Symlink("target", path) }, // to a FIFO
	func(path string) error { return os.Symlink(path, path) },
	func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
}

// FuzzLoad loads sets from directories with arbitrary files, as other users may leave
// them. A set that is loaded has the FIFOs that are there, and opens none.
func FuzzLoad(f *testing.F) {
	for kind := range placed {
		f.Add([]byte{byte(kind), 1, 1})
		f.Add([]byte{1, byte(kind), 0})
	}
	f.Fuzz(func(t *testing.T, kinds []byte) {
		if len(kinds) != len(streamNames) {
			return
		}
		dir := t.TempDir()
		if err := unix.Mkfifo(filepath.Join(dir, "target"), 0o600); err != nil {
			t.Fatal(err)
		}
		var want []string
		mixed := false
		for i, kind := range kinds {
			at := int(kind) % len(placed)
			if err := placed[at](filepath.Join(dir, streamNames[i])); err != nil {
				t.Fatal(err)
			}
			if at == 1 {
				want = append(want, streamNames[i])
			}
			mixed = mixed || at > 1
		}
		set, err := Load(dir)
		if mixed {
			if !errdefs.IsFailedPrecondition(err) {
				t.Fatalf("%v: %v", kinds, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%v: %v", kinds, err)
		}
		var got []string
		for _, name := range streamNames {
			if _, ok := set.fifos[name]; ok {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: %q, want %q", kinds, got, want)
		}
	})
}
