package libcontainerd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
)

// fill is a checkpoint of one file.
func fill(dir string) error {
	return os.WriteFile(filepath.Join(dir, "pages.img"), []byte("x"), 0o600)
}

func named(t *testing.T, root string, want ...string) {
	t.Helper()
	if got, err := Checkpoints(root); err != nil || !slices.Equal(got, want) {
		t.Errorf("checkpoints %q, %v; want %q", got, err, want)
	}
}

func TestCheckpointIsThereWholeOrNotAtAll(t *testing.T) {
	root := filepath.Join(t.TempDir(), "made", "when", "needed")
	named(t, root)
	broken := errors.New("broken")
	err := writeCheckpoint(root, "a", "c1", func(dir string) error {
		named(t, root)
		if err := writeCheckpoint(root, "a", "c2", fill); !errdefs.IsAlreadyExists(err) {
			t.Errorf("two containers, one name: %v", err)
		}
		return errors.Join(fill(dir), broken)
	})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, name := range []string{"b", "a"} {
		if err := writeCheckpoint(root, name, "c1", fill); err != nil {
			t.Fatal(err)
		}
	}
	named(t, root, "a", "b")
	if err := writeCheckpoint(root, "a", "c1", fill); !errdefs.IsAlreadyExists(err) {
		t.Error(err)
	}
	if err := DeleteCheckpoint(root, "a"); err != nil {
		t.Error(err)
	}
	named(t, root, "b")
	if err := DeleteCheckpoint(root, "a"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	for _, name := range []string{"", "..", "../x", ".b~", "a/b"} {
		if err := DeleteCheckpoint(root, name); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestCheckpointAfterKill finds what an engine leaves that is killed while it
// makes or deletes one.
func TestCheckpointAfterKill(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{filepath.Join(root, "a"), partial(root, "a", "c1"), partial(root, "b", "c1"),
		partial(root, "a", "")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(fill(partial(root, "a", "c1")), fill(partial(root, "a", ""))); err != nil {
		t.Fatal(err)
	}
	named(t, root)
	if err := writeCheckpoint(root, "b", "c1", fill); err != nil {
		t.Error(err)
	}
	if err := writeCheckpoint(root, "a", "c1", fill); !errdefs.IsAlreadyExists(err) {
		t.Error(err)
	}
	if err := DeleteCheckpoint(root, "a"); err != nil {
		t.Error(err)
	}
	if err := writeCheckpoint(root, "a", "c1", fill); err != nil {
		t.Error(err)
	}
	named(t, root, "a", "b")
	if left, err := os.ReadDir(root); err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestCheckpointsPassesOverWhatIsNone(t *testing.T) {
	root := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(root, "file"), []byte("x"), 0o600),
		os.Symlink(t.TempDir(), filepath.Join(root, "link")), os.Mkdir(filepath.Join(root, "a b"), 0o700),
		fill(filepath.Join(root, "a b"))); err != nil {
		t.Fatal(err)
	}
	named(t, root)
	if _, err := Checkpoints(filepath.Join(root, "file")); err == nil {
		t.Error("a file has checkpoints")
	}
	if err := writeCheckpoint(root, "link", "c1", fill); !errdefs.IsAlreadyExists(err) {
		t.Error(err)
	}
}
