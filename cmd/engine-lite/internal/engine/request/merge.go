package engine

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
)

// mergeImage fills in from the image what the request left open, as Docker
// does: a command given with a new entrypoint stands alone, variables and
// labels are joined.
func mergeImage(c *container.Config, img images.Image) *container.Config {
	from := img.Config.Config
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = slices.Clone(from.Cmd)
		}
		if c.Entrypoint == nil {
			c.Entrypoint = slices.Clone(from.Entrypoint)
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" { // the CLI's --entrypoint ""
		c.Entrypoint = nil
	}
	c.Env = mergeEnv(c.Env, from.Env)
	c.User = cmp.Or(c.User, from.User)
	c.WorkingDir = cmp.Or(c.WorkingDir, from.WorkingDir)
	c.StopSignal = cmp.Or(c.StopSignal, from.StopSignal)
	if len(c.Shell) == 0 {
		c.Shell = slices.Clone(from.Shell)
	}
	c.Healthcheck = mergeHealthcheck(c.Healthcheck, from.Healthcheck)
	c.Labels = mergeLabels(c.Labels, from.Labels)
	c.ExposedPorts = mergePorts(c.ExposedPorts, from.ExposedPorts)
	return c
}

// mergeEnv adds the image's variables that the request doesn't set.
func mergeEnv(env, from []string) []string {
	set := map[string]bool{}
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		set[key] = true
	}
	merged := slices.Clone(env)
	for _, kv := range from {
		if key, _, _ := strings.Cut(kv, "="); !set[key] {
			merged = append(merged, kv)
		}
	}
	return merged
}

func mergeLabels(labels, from map[string]string) map[string]string {
	merged := maps.Clone(from)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, labels)
	return merged
}

func mergePorts(ports network.PortSet, from map[string]struct{}) network.PortSet {
	for p := range from {
		port, err := network.ParsePort(p)
		if err != nil {
			continue // the image's author's mistake; Docker starts it all the same
		}
		if ports == nil {
			ports = network.PortSet{}
		}
		ports[port] = struct{}{}
	}
	return ports
}

// imageWarnings tell what the image asks for and doesn't get yet.
func imageWarnings(img images.Image) []string {
	var w []string
	if len(img.Config.Config.Volumes) > 0 {
		w = append(w, "The image declares volumes. engine-lite has no volumes yet: their paths are part of the container's own filesystem.")
	}
	return w
}
