package images

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A store that was killed while it looked whether overlayfs works has left a
// directory, with a mount or without: the next one removes both.
func TestOpenSweepsChecks(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "snapshots")
	for _, path := range []string{
		"multiple-lowerdir-check1/merged", "multiple-lowerdir-check2/merged", "multiple-lowerdir-check3",
	} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mounted := filepath.Join(dir, "multiple-lowerdir-check1/merged")
	if err := unix.Mount("none", mounted, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) }) // gone already, if all is well
	s, err := Open(t.Context(), root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "multiple-lowerdir-check*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}
