package parentgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/flock"
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

// TestParentGoesBesideOtherRoots closes a keeper while a daemon in another root of control groups creates a container:
// that daemon has the same mount point, and another root group.
func TestParentGoesBesideOtherRoots(t *testing.T) {
	k, err := New(fmt.Sprintf("parentgroup-test-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(mountPoint)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if filepath.Dir(k.parents[0]) != mountPoint { // else the mount point is the root group
		if err := flock.Lock(t.Context(), other, flock.Shared); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range k.parents {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	for _, dir := range k.parents {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
			_ = os.Remove(dir)
		}
	}
}
