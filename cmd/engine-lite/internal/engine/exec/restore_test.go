package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
)

// TestLeftoverExecs ends execs, one after the other, while an engine looks for leftover execs. It must find only the
// exec that no engine knows.
func TestLeftoverExecs(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e := New(Config{Processes: new(process.Table),
		Dir: func(container string) string { return filepath.Join(root, container) }})
	const id = "c"
	leftover := e.dir(id, "leftover")
	if err := os.MkdirAll(leftover, 0o700); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- endExecs(e, id, 1000) }()
	for over := false; !over; {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			over = true
		default:
		}
		found, err := e.LeftoverExecs(id)
		if !t.Failed() && (err != nil || !slices.Equal(found, []string{"leftover"})) {
			t.Errorf("leftover execs are %v: %v", found, err)
		}
	}
}

// endExecs ends execs as finish does: it removes the directory, then the name.
func endExecs(e *Execs, container string, count int) error {
	for n := range count {
		id := fmt.Sprintf("exec%d", n)
		e.c.Processes.Add(container, id, &instance{id: id})
		if err := os.Mkdir(e.dir(container, id), 0o700); err != nil {
			return err
		}
		if err := os.Remove(e.dir(container, id)); err != nil {
			return err
		}
		e.c.Processes.Remove(container, id)
	}
	return nil
}
