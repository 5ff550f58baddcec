package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
)

// TestLimits sends large requests to runtimed and to each containerd.
func TestLimits(t *testing.T) {
	t.Parallel()
	each := func(t *testing.T, dial dialer) {
		t.Run("many containers", func(t *testing.T) { manyContainers(t, dial) })
		t.Run("huge", func(t *testing.T) { hugeContainer(t, dial) })
	}
	t.Run("runtimed", func(t *testing.T) { each(t, startRuntimed(t, buildRuntimed(t), "runc").dial) })
	onEach(t, newest(containerds(t)), func(t *testing.T, release containerdRelease) { each(t, startContainerd(t, release).dial) })
}

// dialer connects to a daemon, in a namespace.
type dialer func(t *testing.T, namespace string) *remote.Daemon

const (
	manyIDs = 1000
	// largeSpec makes their specs 20 MB together: more than containerd lets
	// one message have, and five times what gRPC does.
	largeSpec = 20 << 10
	// hugeSpec is what one container may have: below containerd's 16 MiB.
	hugeSpec = 8 << 20
	// tooLargeSpec is above it.
	tooLargeSpec = 17 << 20
)

// manyContainers lists many containers with large specs, in several namespaces.
func manyContainers(t *testing.T, dial dialer) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitLimit)
	defer cancel()
	own, other := dial(t, fmt.Sprintf("many-%d", os.Getpid())), dial(t, fmt.Sprintf("other-%d", os.Getpid()))
	large := paddedSpec(largeSpec)
	want := make([]string, manyIDs)
	for i := range want {
		want[i] = fmt.Sprintf("c%04d", i)
		if err := own.CreateContainer(ctx, libcontainerd.Record{ID: want[i], Spec: large}); err != nil {
			t.Fatal(err)
		}
	}
	// In another namespace, the same id is another container.
	if err := other.CreateContainer(ctx, libcontainerd.Record{ID: want[0], Spec: paddedSpec(0)}); err != nil {
		t.Error(err)
	}
	if got := containersOf(ctx, t, own); !slices.Equal(got, want) {
		t.Errorf("%d containers of %d: %q", len(got), len(want), got)
	}
	if got := containersOf(ctx, t, other); !slices.Equal(got, want[:1]) {
		t.Errorf("in the other namespace: %q", got)
	}
	if tasks, err := own.Tasks(ctx); err != nil || len(tasks) != 0 {
		t.Errorf("tasks %v, %v", tasks, err)
	}
	// The callback can end the stream by an error.
	enough := fmt.Errorf("enough: %w", errdefs.ErrAborted)
	if err := own.Containers(ctx, func(string) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	for _, id := range want {
		if err := own.DeleteContainer(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if got := containersOf(ctx, t, other); !slices.Equal(got, want[:1]) {
		t.Errorf("in the other namespace, after the end of the first: %q", got)
	}
	if err := other.DeleteContainer(ctx, want[0]); err != nil {
		t.Error(err)
	}
}

// hugeContainer stores a container that does not fit into gRPC's default message size in a
// list, and one that no daemon accepts.
func hugeContainer(t *testing.T, dial dialer) {
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	d := dial(t, fmt.Sprintf("huge-%d", os.Getpid()))
	if err := d.CreateContainer(ctx, libcontainerd.Record{ID: "huge", Spec: paddedSpec(hugeSpec)}); err != nil {
		t.Error(err)
	}
	if err := d.CreateContainer(ctx,
		libcontainerd.Record{ID: "too-large", Spec: paddedSpec(tooLargeSpec)}); !errdefs.IsResourceExhausted(err) {
		t.Errorf("a spec that is too large: %v", err)
	}
	if got := containersOf(ctx, t, d); !slices.Equal(got, []string{"huge"}) {
		t.Errorf("%q", got)
	}
	if err := d.DeleteContainer(ctx, "huge"); err != nil {
		t.Error(err)
	}
}

func paddedSpec(size int) *specs.Spec {
	spec := scriptSpec("/rootfs", "true")
	spec.Annotations = map[string]string{"padding": strings.Repeat("x", size)}
	return spec
}

func containersOf(ctx context.Context, t *testing.T, d *remote.Daemon) []string {
	t.Helper()
	var ids []string
	if err := d.Containers(ctx, func(id string) error { ids = append(ids, id); return nil }); err != nil {
		t.Error(err)
	}
	slices.Sort(ids)
	return ids
}
