package request

import (
	"cmp"
	"maps"
	"slices"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImageConfig is the part of a container's configuration that an image has, too.
func ImageConfig(c *container.Config) dockerspec.DockerOCIImageConfig {
	var exposed map[string]struct{}
	for p := range c.ExposedPorts {
		if exposed == nil {
			exposed = map[string]struct{}{}
		}
		exposed[p.String()] = struct{}{}
	}
	return dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{
			User: c.User, ExposedPorts: exposed, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Volumes: c.Volumes,
			WorkingDir: c.WorkingDir, Labels: c.Labels, StopSignal: c.StopSignal,
		},
		DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{
			Healthcheck: c.Healthcheck, OnBuild: c.OnBuild, Shell: c.Shell,
		},
	}
}

// FillCommitted fills in from a container's configuration what the configuration of its commit leaves open, as Docker
// does: a command without an entrypoint stands alone; variables, labels, ports and volumes are joined.
func FillCommitted(c *dockerspec.DockerOCIImageConfig, from dockerspec.DockerOCIImageConfig) {
	c.User = cmp.Or(c.User, from.User)
	c.ExposedPorts = join(c.ExposedPorts, from.ExposedPorts)
	c.Volumes = join(c.Volumes, from.Volumes)
	c.Env = MergeEnv(c.Env, from.Env)
	c.Labels = mergeLabels(c.Labels, from.Labels)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = slices.Clone(from.Cmd)
		}
		if c.Entrypoint == nil {
			c.Entrypoint = slices.Clone(from.Entrypoint)
		}
	}
	c.Healthcheck = mergeHealthcheck(c.Healthcheck, from.Healthcheck)
	c.WorkingDir = cmp.Or(c.WorkingDir, from.WorkingDir)
	c.StopSignal = cmp.Or(c.StopSignal, from.StopSignal)
}

// join returns the keys of both; nil where there are none.
func join(a, b map[string]struct{}) map[string]struct{} {
	if len(a) == 0 {
		return maps.Clone(b)
	}
	joined := maps.Clone(a)
	maps.Copy(joined, b)
	return joined
}
