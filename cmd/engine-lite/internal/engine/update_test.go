package engine

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// TestUpdate changes a container that runs, and one that does not. The next engine knows the
// changes.
func TestUpdate(t *testing.T) {
	r := newRig(t)
	running, created := r.run("running", "sleep 1000"), r.create("created", "exit 0")
	for _, id := range []string{running, created} {
		_, err := r.e.ContainerUpdate(t.Context(), id, container.UpdateConfig{
			Resources:     container.Resources{Memory: 64 << 20, CPUShares: 512},
			RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2},
		})
		must(t, err)
	}
	r.reopen()
	for _, id := range []string{running, created} {
		h := r.task(id).Record().HostConfig
		if h.Memory != 64<<20 || h.CPUShares != 512 || h.RestartPolicy.Name != "on-failure" || h.RestartPolicy.MaximumRetryCount != 2 {
			t.Errorf("container %s has %+v, %+v", id, h.Resources, h.RestartPolicy)
		}
		if !slices.Contains(r.actions(id), "update") {
			t.Errorf("container %s has the events %q", id, r.actions(id))
		}
	}
	for name, c := range map[string]struct {
		ref string
		req container.UpdateConfig
		is  func(error) bool
	}{
		"no container": {"nobody", container.UpdateConfig{}, errdefs.IsNotFound},
		"too little":   {"nobody", container.UpdateConfig{Resources: container.Resources{Memory: 1}}, errdefs.IsInvalidArgument},
		"not here":     {running, container.UpdateConfig{Resources: container.Resources{IOMaximumIOps: 10}}, errdefs.IsNotImplemented},
	} {
		if _, err := r.e.ContainerUpdate(t.Context(), c.ref, c.req); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{running, created} {
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	}
	r.empty()
}
