package parentgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// groupDirs makes the parents of two hierarchies, the first with a container's group.
func groupDirs(t *testing.T) (lock string, parents []string, container string) {
	t.Helper()
	lock = t.TempDir()
	parents = []string{filepath.Join(lock, "cpu", "parent"), filepath.Join(lock, "pids", "parent")}
	container = filepath.Join(parents[0], "c")
	for _, dir := range []string{container, parents[1]} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return lock, parents, container
}

func isThere(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestParentGoesWithTheLastContainer(t *testing.T) {
	lock, parents, container := groupDirs(t)
	k := start(parents, lock, time.Millisecond)
	if done, err := k.remove(); !done || err != nil || !isThere(t, container) {
		t.Fatalf("done %t, %v, the container's group is there: %t", done, err, isThere(t, container))
	}
	if err := os.Remove(container); err != nil {
		t.Fatal(err)
	}
	k.Deleted()
	awaitGone(t, parents)
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestParentOfAKilledEngineGoes(t *testing.T) {
	lock, parents, container := groupDirs(t)
	if err := os.Remove(container); err != nil {
		t.Fatal(err)
	}
	k := start(parents, lock, time.Millisecond)
	awaitGone(t, parents)
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func awaitGone(t *testing.T, parents []string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); isThere(t, parents[0]) ||
		isThere(t, parents[1]); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the empty parent stays")
		}
	}
}

func TestParentStaysWhileATaskIsCreated(t *testing.T) {
	lock, parents, container := groupDirs(t)
	if err := os.Remove(container); err != nil {
		t.Fatal(err)
	}
	k := start(parents, lock, time.Hour)
	another := start(parents, lock, time.Hour)
	unlock, err := another.Creating(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if done, err := k.remove(); done || err != nil || !isThere(t, parents[0]) {
		t.Errorf("done %t, %v, the parent is there: %t", done, err, isThere(t, parents[0]))
	}
	unlock()
	if err := errors.Join(k.Close(), another.Close()); err != nil {
		t.Error(err)
	}
	for _, dir := range parents {
		if isThere(t, dir) {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"..", "a/b", "/a", "."} {
		if _, err := New(name); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
	k, err := New("")
	if k != nil || err != nil {
		t.Fatalf("%v, %v", k, err)
	}
	done, err := k.Creating(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done()
	k.Deleted()
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
