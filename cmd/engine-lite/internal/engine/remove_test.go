package engine

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
)

// busyImages lets a function decide whether the removal of a root filesystem fails.
type busyImages struct {
	Images
	fails func() error
}

func (b busyImages) RemoveRootfs(ctx context.Context, id string) error {
	if err := b.fails(); err != nil {
		return err
	}
	return b.Images.RemoveRootfs(ctx, id)
}

var errBusy = errors.New("busy")

func newBusyRig(t *testing.T, fails func() error) *rig {
	t.Helper()
	r := newRig(t)
	r.close()
	r.images = func(ctx context.Context, root string) (Images, error) {
		store, err := images.Open(ctx, root, images.Options{})
		if err != nil {
			return nil, err
		}
		return busyImages{store, fails}, nil
	}
	r.open()
	return r
}

// A removal after the exit that fails is tried again until the container is gone. A waiter
// gets the error of each try, with the exit code.
func TestAutoRemoveIsTriedAgain(t *testing.T) {
	cases := map[string]struct {
		script string
		code   int64
	}{
		"exit":              {script: "exit 5", code: 5},
		"start that failed": {code: 127},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ends := make(chan error)
			r := newBusyRig(t, func() error { return <-ends })
			id := r.create("", c.script, autoRemove, func(req *container.CreateRequest) {
				if c.script == "" {
					req.Cmd = []string{"nosuch"}
				}
			})
			removed := r.wait(id, container.WaitConditionRemoved)
			started := make(chan error, 1)
			go func() { started <- r.e.ContainerStart(t.Context(), id) }()
			for range 2 {
				ends <- errBusy
				if got := receive(t, removed); got.StatusCode != c.code || got.Error == nil ||
					!strings.Contains(got.Error.Message, errBusy.Error()) {
					t.Errorf("%+v", got)
				}
				removed = r.wait(id, container.WaitConditionRemoved)
			}
			ends <- nil
			if got := receive(t, removed); got.StatusCode != c.code || got.Error != nil {
				t.Errorf("%+v", got)
			}
			if err := receive(t, started); (err == nil) != (c.script != "") {
				t.Errorf("start: %v", err)
			}
			r.empty()
		})
	}
}

// A removal that always fails does not prevent the engine from closing. The next engine
// tries again.
func TestAutoRemoveOverEngines(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	r := newBusyRig(t, func() error {
		if busy.Load() {
			return errBusy
		}
		return nil
	})
	id := r.run("", "exit 0", autoRemove)
	for range 2 {
		r.until(id, func(v containers.View) bool { return v.FailedRemovals >= 2 })
		r.reopen()
	}
	removed := r.wait(id, container.WaitConditionRemoved)
	busy.Store(false)
	for receive(t, removed).Error != nil { // of a try that had begun
		removed = r.wait(id, container.WaitConditionRemoved)
	}
	r.empty()
}
