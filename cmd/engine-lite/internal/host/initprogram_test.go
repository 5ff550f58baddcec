package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
)

// TestInitProgram looks for the init in directories that have none, one, and both.
func TestInitProgram(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if path, err := InitProgram(); !errdefs.IsNotImplemented(err) {
		t.Errorf("no init: %q, %v", path, err)
	}
	for _, name := range []string{"docker-init", "tini-static"} {
		want := filepath.Join(dir, name)
		if err := os.WriteFile(want, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if path, err := InitProgram(); path != want || err != nil {
			t.Errorf("%q, %v, want %q", path, err, want)
		}
	}
}
