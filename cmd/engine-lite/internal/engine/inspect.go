package engine

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// ContainerInspect tells all that is known of a container. It never waits for
// the container.
func (e *Engine) ContainerInspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error) {
	o, err := e.roster.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	r := o.record()
	dir := e.containerDir(r.ID)
	answer := container.InspectResponse{
		ID: r.ID, Created: r.Created.Format(time.RFC3339Nano), Path: r.Path, Args: r.Args,
		State: inspectState(r), RestartCount: r.RestartCount, Image: r.Image, Name: "/" + r.Name,
		ResolvConfPath: filepath.Join(dir, "resolv.conf"), HostnamePath: filepath.Join(dir, "hostname"), HostsPath: filepath.Join(dir, "hosts"),
		LogPath: e.logPath(r), Driver: e.images.Snapshotter(), Platform: "linux",
		ExecIDs: o.execIDs(), HostConfig: r.HostConfig, Config: r.Config,
		GraphDriver: &storage.DriverData{Name: e.images.Snapshotter(), Data: map[string]string{}},
		Mounts:      []container.MountPoint{},
		NetworkSettings: &container.NetworkSettings{
			Ports: network.PortMap{}, Networks: endpoints(r),
		},
	}
	if size {
		written, err := e.images.Usage(ctx, r.ID)
		if err != nil {
			return container.InspectResponse{}, err
		}
		answer.SizeRw, answer.SizeRootFs = &written, &written
	}
	return answer, nil
}

func inspectState(r *record.Record) *container.State {
	return &container.State{
		Status: container.ContainerState(r.Status), Running: r.Up(), Paused: r.Status == record.StatusPaused, Restarting: r.Status == record.StatusRestarting,
		OOMKilled: r.OOMKilled, Pid: r.Pid, ExitCode: r.ShownExitCode(), Error: cmp.Or(r.Error, r.ExitUnknown),
		StartedAt: r.StartedAt.Format(time.RFC3339Nano), FinishedAt: r.FinishedAt.Format(time.RFC3339Nano),
		Health: inspectHealth(r),
	}
}

func (o *object) execIDs() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.execs) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(o.execs))
}
