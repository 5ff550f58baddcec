package deletion_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/deletion"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree makes a directory with more files than are read at once, deep directories, and links that lead out.
func tree(t *testing.T, dir string) {
	t.Helper()
	deep := filepath.Join(dir, strings.Repeat("d/", 50))
	must(t, os.MkdirAll(deep, 0o700))
	must(t, os.Symlink("..", filepath.Join(deep, "up")))
	must(t, os.Symlink(filepath.Dir(dir), filepath.Join(dir, "out")))
	for n := range 3000 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o400))
	}
}

func TestTree(t *testing.T) {
	root := t.TempDir()
	kept, dir := filepath.Join(root, "kept"), filepath.Join(root, "dir")
	must(t, os.WriteFile(kept, nil, 0o600))
	must(t, os.Mkdir(dir, 0o700))
	tree(t, dir)
	must(t, deletion.Tree(t.Context(), dir))
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is there: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "x")} {
		if err := deletion.Tree(t.Context(), path); err != nil {
			t.Errorf("nothing is at %s: %v", path, err)
		}
	}
	must(t, deletion.Tree(t.Context(), kept))
}

// TestUndeletable keeps a mount point in a tree: the directories that lead to it stay, and nothing else.
func TestUndeletable(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "dir")
	must(t, os.Mkdir(dir, 0o700))
	tree(t, dir)
	mounted := filepath.Join(dir, "d/d/mounted")
	must(t, os.Mkdir(mounted, 0o700))
	must(t, unix.Mount("none", mounted, "tmpfs", 0, "size=4k"))
	t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) }) // gone already, if all is well
	for _, clean := range []func(context.Context, string) error{deletion.Tree, deletion.Below} {
		if err := clean(t.Context(), dir); !errors.Is(err, unix.EBUSY) {
			t.Error(err)
		}
		for path, want := range map[string]string{dir: "d", filepath.Join(dir, "d"): "d", filepath.Join(dir, "d/d"): "mounted"} {
			if left, err := os.ReadDir(path); err != nil || len(left) != 1 || left[0].Name() != want {
				t.Errorf("%s has %v, %v", path, left, err)
			}
		}
	}
	must(t, unix.Unmount(mounted, 0))
	must(t, deletion.Below(t.Context(), root))
}

// endsSoon ends after a number of looks at it.
type endsSoon struct {
	context.Context
	looks int
}

func (e *endsSoon) Err() error {
	if e.looks--; e.looks < 0 {
		return context.Canceled
	}
	return nil
}

func TestEndInTheMiddle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	must(t, os.Mkdir(dir, 0o700))
	tree(t, dir)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := deletion.Tree(&endsSoon{ended, 100}, dir)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the deletion ended with %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) < 2800 {
		t.Errorf("%d entries are left, %v", len(left), err)
	}
	must(t, deletion.Below(t.Context(), filepath.Dir(dir)))
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}
