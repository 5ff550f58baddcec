// Package inspect turns the engine's records into the answers of Docker's API. It knows the record only: what stands in
// no record comes as an argument.
package inspect

import (
	"cmp"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// Place is where the parts of a container are.
type Place struct {
	// Dir is the container's directory, LogPath its log; empty where it has none.
	Dir, LogPath string
	// Snapshotter made its root filesystem.
	Snapshotter string
	// Runtime is the name of the OCI runtime of containers that name none.
	Runtime string
	// ExecIDs are those that are known, sorted; nil where there are none.
	ExecIDs []string
	// Source returns the path of the host where a volume or an image is that the container mounts; nil for no path.
	Source func(m record.Mount) string
}

// Container is the answer to an inspect.
func Container(r *record.Record, at Place) container.InspectResponse {
	hostConfig := HostConfig(r.HostConfig)
	hostConfig.Runtime = cmp.Or(hostConfig.Runtime, at.Runtime)
	return container.InspectResponse{
		ID: r.ID, Created: r.Created.Format(time.RFC3339Nano), Path: r.Path, Args: r.Args,
		State: state(r), RestartCount: r.RestartCount, Image: r.Image, Name: "/" + r.Name,
		ResolvConfPath: filepath.Join(at.Dir, "resolv.conf"), HostnamePath: filepath.Join(at.Dir, "hostname"),
		HostsPath: filepath.Join(at.Dir, "hosts"), LogPath: at.LogPath, Driver: at.Snapshotter, Platform: "linux",
		ExecIDs: at.ExecIDs, HostConfig: hostConfig, Config: Config(r.Config),
		GraphDriver:     &storage.DriverData{Name: at.Snapshotter, Data: map[string]string{}},
		Mounts:          mountPoints(r, at.Source),
		NetworkSettings: &container.NetworkSettings{Ports: network.PortMap{}, Networks: endpoints(r)},

		ImageManifestDescriptor: imageManifest(r.ImageManifest),
	}
}

func state(r *record.Record) *container.State {
	s := &container.State{
		Status: container.ContainerState(r.Status), Running: r.Up(), Paused: r.Status == record.StatusPaused,
		Restarting: r.Status == record.StatusRestarting, Dead: r.Status == record.StatusDead,
		OOMKilled: r.OOMKilled, Pid: r.Pid, ExitCode: r.ShownExitCode(), Error: cmp.Or(r.Error, r.ExitUnknown),
		StartedAt: r.StartedAt.Format(time.RFC3339Nano), FinishedAt: r.FinishedAt.Format(time.RFC3339Nano),
		Health: health(r),
	}
	if err := r.Unreadable(); err != nil {
		s.Error = "this version of engine-lite cannot read the " + err.Error()
	}
	return s
}
