package request

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logdriver"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Create makes the configuration of a container out of a request that passed [Check], the configuration of its image,
// and the name that the container has unless it shares the host's. InvalidArgument where both together make no sense.
func Create(req container.CreateRequest, img dockerspec.DockerOCIImageConfig, name string, host Host) (*record.Config, *record.HostConfig, error) {
	merged := mergeImage(req.Config, img)
	if err := checkHealthcheck(merged.Healthcheck); err != nil {
		return nil, nil, err
	}
	if len(merged.Entrypoint)+len(merged.Cmd) == 0 {
		return nil, nil, classed.Errorf(errdefs.ErrInvalidArgument, "no command specified")
	}
	c, h := Config(merged), HostConfig(req.HostConfig)
	if err := nameHost(c, h, name, host); err != nil {
		return nil, nil, err
	}
	fillHostConfig(h, host)
	return c, h, nil
}

// nameHost gives the container its host name: the host's own where it shares
// the host's network or UTS namespace.
func nameHost(c *record.Config, h *record.HostConfig, name string, host Host) error {
	if c.Hostname != "" {
		return nil
	}
	c.Hostname = name
	if !h.NetworkMode.IsHost() && !h.UTSMode.IsHost() {
		return nil
	}
	var err error
	if c.Hostname, err = host.Name(); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	return nil
}

// defaultShmSize is Docker's default, in bytes.
const defaultShmSize = 64 << 20

// fillHostConfig puts in what Docker shows where nothing was said.
func fillHostConfig(h *record.HostConfig, host Host) {
	h.LogConfig.Type = cmp.Or(h.LogConfig.Type, logdriver.JSONFile)
	h.NetworkMode = cmp.Or(h.NetworkMode, "default")
	h.IpcMode = cmp.Or(h.IpcMode, "private")
	h.CgroupnsMode = cmp.Or(h.CgroupnsMode, defaultCgroupns(host))
	h.ShmSize = cmp.Or(h.ShmSize, defaultShmSize)
	if h.PidsLimit != nil && *h.PidsLimit <= 0 { // two words for no limit
		h.PidsLimit = nil
	}
	if h.MemorySwappiness != nil && *h.MemorySwappiness == -1 {
		h.MemorySwappiness = nil
	}
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	h.RestartPolicy.Name = cmp.Or(h.RestartPolicy.Name, record.RestartNever)
	shares := h.Privileged || h.IpcMode.IsHost() || h.PidMode.IsHost()
	if shares && !slices.ContainsFunc(h.SecurityOpt, isLabel) {
		h.SecurityOpt = append(h.SecurityOpt, "label=disable")
	}
}

// isLabel tells whether a security option is about SELinux' labels.
func isLabel(opt string) bool { return strings.HasPrefix(opt, "label=") }

// defaultCgroupns is Docker's default: a container sees its own control groups as
// the root of all, where the kernel has version 2.
func defaultCgroupns(host Host) record.CgroupnsMode {
	if host.ControlGroups2 {
		return "private"
	}
	return "host"
}

// mergeImage fills in from the image what the request left open, as Docker
// does: a command given with a new entrypoint stands alone, variables and
// labels are joined.
func mergeImage(c *container.Config, from dockerspec.DockerOCIImageConfig) *container.Config {
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
	c.Env = MergeEnv(c.Env, from.Env)
	c.User = cmp.Or(c.User, from.User)
	if c.WorkingDir = cmp.Or(c.WorkingDir, from.WorkingDir); c.WorkingDir != "" {
		c.WorkingDir = filepath.Clean(c.WorkingDir)
	}
	c.StopSignal = cmp.Or(c.StopSignal, from.StopSignal)
	if len(c.Shell) == 0 {
		c.Shell = slices.Clone(from.Shell)
	}
	c.Healthcheck = mergeHealthcheck(c.Healthcheck, from.Healthcheck)
	c.Labels = mergeLabels(c.Labels, from.Labels)
	c.ExposedPorts = mergePorts(c.ExposedPorts, from.ExposedPorts)
	if len(from.Volumes) > 0 {
		volumes := maps.Clone(from.Volumes)
		maps.Copy(volumes, c.Volumes)
		c.Volumes = volumes
	}
	return c
}

// MergeEnv adds to the variables of a request those of from that it does not set.
func MergeEnv(env, from []string) []string {
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
