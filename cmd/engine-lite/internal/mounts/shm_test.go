package mounts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mountsBelow counts the mounts below a directory.
func mountsBelow(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	return strings.Count(string(data), " "+dir+"/")
}

// TestShm shares the memory of a container with others. They keep it when the container has lost it. A container without
// such a memory, or that has ended, shares none, and above all not its directory on the disk.
func TestShm(t *testing.T) {
	root := t.TempDir()
	a, b, c, none := filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "c"), filepath.Join(root, "none")
	for _, dir := range []string{a, b, c, none} {
		must(t, os.Mkdir(dir, 0o700))
		t.Cleanup(func() { must(t, UnmountShm(dir)) })
	}
	shareable := &record.HostConfig{IpcMode: "shareable"}
	must(t, UnmountShm(a))
	must(t, MountShm(a, 1<<20))
	must(t, MountShm(a, 1<<20)) // the engine died before it could take the first away
	if n := mountsBelow(t, root); n != 1 {
		t.Errorf("%d mounts", n)
	}
	share := func(dir, from string, want bool) {
		t.Helper()
		if ok, err := ShareShm(dir, from, shareable); ok != want || err != nil {
			t.Errorf("share: %t, %v", ok, err)
		}
	}
	share(b, a, true)
	must(t, os.WriteFile(filepath.Join(b, "shm", "x"), []byte("x"), 0o600))
	must(t, UnmountShm(a))
	share(c, a, false)
	share(c, none, false)
	share(c, b, true)
	if _, err := os.Stat(filepath.Join(c, "shm", "x")); err != nil {
		t.Error(err)
	}
	must(t, UnmountShm(b))
	must(t, UnmountShm(c))
	if n := mountsBelow(t, root); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
	if ok, err := ShareShm(c, a, &record.HostConfig{IpcMode: "host"}); !ok || err != nil {
		t.Errorf("the host's: %t, %v", ok, err)
	}
}
