package core

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// TestUnmountAll: after any mounts, nothing is mounted.
func TestUnmountAll(t *testing.T) {
	tests := map[string][]string{ // the mounts, in this order
		"nothing":                  nil,
		"one":                      {"."},
		"two on each other":        {".", "."},
		"one below":                {"sub"},
		"one in the other":         {".", "sub"},
		"one below the other's":    {"sub", "sub/deep"},
		"one covers what is below": {"sub", "."},
	}
	for name, places := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, place := range places {
				target := filepath.Join(dir, place)
				if err := os.MkdirAll(target, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := unix.Mount("tmpfs", target, "tmpfs", 0, "size=64k"); err != nil {
					t.Fatal(err)
				}
			}
			if err := unmountAll(dir); err != nil {
				t.Error(err)
			}
			left, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range left {
				t.Errorf("%s is mounted", m.Mountpoint)
				_ = unix.Unmount(m.Mountpoint, unmountFlags) // a mount that is left would disturb other tests
			}
		})
	}
	if err := unmountAll(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Error(err)
	}
}
