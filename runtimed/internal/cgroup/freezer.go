package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// freezerState is what the freezer of a control group is doing.
type freezerState int

const (
	freezerUnknown freezerState = iota // there is no freezer, or no group any more
	Thawed
	freezing // it was told to freeze, and not all of the processes have stopped
	frozen
)

const (
	// freezeBound is how long processes that were told to freeze may go on before the try counts as failed.
	freezeBound = 2 * time.Second
	// freezeLook is how often the freezer is looked at: nothing announces a change in version 1.
	freezeLook = 2 * time.Millisecond
)

// freezer returns the file that freezes the group, and what is to be written there to thaw it; empty where there is
// no freezer.
func (g *Groups) freezer() (file, thaw string) {
	if g.V2 != "" {
		return filepath.Join(cgroupMount, g.V2, "cgroup.freeze"), "0"
	}
	if path := g.fileV1("freezer", "freezer.state"); path != "" {
		return path, "THAWED"
	}
	return "", ""
}

// fileV1 is the path of a controller's file in version 1; empty where the controller isn't mounted.
func (g *Groups) fileV1(controller, name string) string {
	rel, ok := g.V1[controller]
	if !ok {
		return ""
	}
	all, err := hierarchiesOf(g.V1)
	if err != nil {
		return ""
	}
	m := all.mount(controller)
	if m == nil {
		return ""
	}
	return filepath.Join(m.Mountpoint, rel, name)
}

// freezerState reads the freezer. In version 1 the kernel finds out by the reading whether all processes have stopped
// (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
func (g *Groups) freezerState() freezerState {
	file, _ := g.freezer()
	if file == "" {
		return freezerUnknown
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return freezerUnknown
	}
	switch strings.TrimSpace(string(text)) {
	case "0", "THAWED":
		return Thawed
	case "FROZEN":
		return frozen
	case "FREEZING":
		return freezing
	case "1":
		return g.frozenV2()
	}
	return freezerUnknown
}

// frozenV2 tells whether a group of version 2 that was told to freeze has done it.
func (g *Groups) frozenV2() freezerState {
	events, err := os.ReadFile(filepath.Join(cgroupMount, g.V2, "cgroup.events"))
	if err != nil {
		return freezerUnknown
	}
	if strings.Contains(string(events), "frozen 1") {
		return frozen
	}
	return freezing
}

// IsFreezing tells whether the group is frozen, or on the way there.
func (g *Groups) IsFreezing() bool {
	s := g.freezerState()
	return s == frozen || s == freezing
}

// Thaw undoes a freeze, also one that has only begun. A group that is gone is no error.
func (g *Groups) Thaw() error {
	file, word := g.freezer()
	if file == "" {
		return nil
	}
	err := os.WriteFile(file, []byte(word), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) && statefile.Exists(file) {
		return fmt.Errorf("cannot thaw a control group: %w", err)
	}
	return nil
}

// awaitFreezer waits while the freezer is in one of these states, at most for some time.
func (g *Groups) awaitFreezer(ctx context.Context, bound time.Duration, while ...freezerState) freezerState {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for {
		s := g.freezerState()
		if !slices.Contains(while, s) || retry.Sleep(ctx, freezeLook) != nil {
			return s
		}
	}
}

// Freeze freezes the group. Unavailable if that takes longer than freezeBound, or there is no freezer; the group may
// be freezing then.
func (g *Groups) Freeze(ctx context.Context) error {
	file, _ := g.freezer()
	if file == "" {
		return fmt.Errorf("the control group has no freezer: %w", errdefs.ErrUnavailable)
	}
	word := "FROZEN"
	if g.V2 != "" {
		word = "1"
	}
	if err := os.WriteFile(file, []byte(word), 0); err != nil {
		return fmt.Errorf("cannot freeze a control group: %v: %w", err, errdefs.ErrUnavailable)
	}
	return g.AwaitFrozen(ctx)
}

// AwaitFrozen waits until a freeze that has begun is complete: crun doesn't wait for that in version 1. A group that
// isn't freezing at all is no error: its OCI runtime may have another way to pause. Unavailable if the processes go
// on for longer than freezeBound.
func (g *Groups) AwaitFrozen(ctx context.Context) error {
	if g.awaitFreezer(ctx, freezeBound, freezing) == freezing {
		return fmt.Errorf("the kernel has not frozen all processes after %v: %w", freezeBound, errdefs.ErrUnavailable)
	}
	return nil
}

// MemoryUsage reads how much memory the group uses, in bytes; ok is false where that isn't known.
func (g *Groups) MemoryUsage() (bytes int64, ok bool) {
	file := filepath.Join(cgroupMount, g.V2, "memory.current")
	if g.V2 == "" {
		file = g.fileV1("memory", "memory.usage_in_bytes")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	bytes, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return bytes, err == nil
}

// AwaitThawed waits until nobody freezes the group, at most freezeBound, and returns what the freezer is doing then.
func (g *Groups) AwaitThawed(ctx context.Context) freezerState {
	return g.awaitFreezer(ctx, freezeBound, freezing, frozen)
}
