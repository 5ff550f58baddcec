package images

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// A store that was killed has left the directories of removed snapshots, put aside or not: the next one deletes them. A
// store that is closed meanwhile leaves the rest to the one after it.
func TestOpenDeletesRemovedSnapshots(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"removed/7", "removed/8", "snapshots/8"} {
		files := filepath.Join(root, "snapshots/overlayfs", dir, "fs")
		must(t, os.MkdirAll(files, 0o700))
		for n := range 3000 {
			must(t, os.WriteFile(filepath.Join(files, fmt.Sprint(n)), nil, 0o600))
		}
	}
	s, err := Open(t.Context(), root, Options{Snapshotter: overlayfs})
	must(t, err)
	must(t, s.Close())
	s, err = Open(t.Context(), root, Options{Snapshotter: overlayfs})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(root, "snapshots/overlayfs/*/*"))
		must(t, err)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("left: %q", left)
		}
	}
}
