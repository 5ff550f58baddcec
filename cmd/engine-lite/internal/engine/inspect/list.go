package inspect

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/networks"
)

// Summary is the answer of a list about a container. source is that of [Place].
func Summary(r *record.Record, now time.Time, source func(m record.Mount) string) container.Summary {
	s := container.Summary{
		ID: r.ID, Names: []string{"/" + r.Name}, Image: r.ImageName, ImageID: r.Image,
		Command: strings.Join(append([]string{r.Path}, r.Args...), " "), Created: r.Created.Unix(),
		Ports: []container.PortSummary{}, Labels: r.Config.Labels,
		State: container.ContainerState(r.Status), Status: StatusText(r, now),
		Health:          HealthSummary(r),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: endpoints(r)},
		Mounts:          mountPoints(r, source),

		ImageManifestDescriptor: imageManifest(r.ImageManifest),
	}
	s.HostConfig.NetworkMode = string(r.HostConfig.NetworkMode)
	s.HostConfig.Annotations = r.HostConfig.Annotations
	return s
}

// StatusText is the state in the words of docker ps.
func StatusText(r *record.Record, now time.Time) string {
	if r.Unreadable() != nil {
		return runText(r, now) + " (record cannot be read)"
	}
	return runText(r, now)
}

func runText(r *record.Record, now time.Time) string {
	switch r.Status {
	case record.StatusRunning:
		return "Up " + units.HumanDuration(now.Sub(r.StartedAt)) + healthText(r)
	case record.StatusPaused:
		return "Up " + units.HumanDuration(now.Sub(r.StartedAt)) + " (Paused)"
	case record.StatusExited:
		return fmt.Sprintf("Exited (%d) %s ago", r.ShownExitCode(), units.HumanDuration(now.Sub(r.FinishedAt)))
	case record.StatusRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", r.ShownExitCode(), units.HumanDuration(now.Sub(r.FinishedAt)))
	case record.StatusRemoving:
		return "Removal In Progress"
	case record.StatusDead:
		return "Dead"
	default:
		return "Created"
	}
}

// NetworkName is the name of the network that a container is shown in.
func NetworkName(r *record.Record) string {
	if m := r.HostConfig.NetworkMode; m.IsNone() || m.IsHost() {
		return string(m)
	}
	return "bridge"
}

func endpoints(r *record.Record) map[string]*network.EndpointSettings {
	return map[string]*network.EndpointSettings{NetworkName(r): {NetworkID: networks.ID(NetworkName(r))}}
}
