package engine

import (
	"reflect"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// hostConfigHere are the fields of a HostConfig that the engine acts on, or
// checks by itself. Each other one has to be at its zero value.
var hostConfigHere = []string{
	"LogConfig", "NetworkMode", "RestartPolicy", "AutoRemove", "ConsoleSize", "Annotations", "CapAdd", "CapDrop",
	"CgroupnsMode", "ExtraHosts", "GroupAdd", "IpcMode", "OomScoreAdj", "PidMode", "Privileged", "ReadonlyRootfs",
	"SecurityOpt", "Tmpfs", "UTSMode", "UsernsMode", "ShmSize", "Sysctls", "MaskedPaths", "ReadonlyPaths", "Resources",
	"Runtime", "Isolation", "DNS", "DNSOptions", "DNSSearch",
}

// resourcesHere are those of its Resources.
var resourcesHere = []string{
	"CPUShares", "Memory", "NanoCPUs", "CPUPeriod", "CPUQuota", "CpusetCpus", "CpusetMems", "MemoryReservation",
	"MemorySwap", "MemorySwappiness", "OomKillDisable", "PidsLimit", "Ulimits",
}

// checkCreate refuses what the engine doesn't have, by name, and warns of what
// it has only in part.
func checkCreate(req container.CreateRequest) (warnings []string, err error) {
	h := req.HostConfig
	if err := onlyFields(*h, "HostConfig", hostConfigHere); err != nil {
		return nil, err
	}
	if err := onlyFields(h.Resources, "HostConfig", resourcesHere); err != nil {
		return nil, err
	}
	for _, check := range []func(container.CreateRequest) error{checkConfig, checkModes, checkRestartPolicy, checkEndpoints} {
		if err := check(req); err != nil {
			return nil, err
		}
	}
	if h.NetworkMode.IsDefault() || h.NetworkMode == "bridge" || h.NetworkMode == "" {
		warnings = append(warnings, "engine-lite has no bridged networks yet: the container has a loopback interface only. --network none says so, --network host shares the host's.")
	}
	if h.MemorySwappiness != nil && *h.MemorySwappiness != -1 {
		warnings = append(warnings, "Memory swappiness is discarded: engine-lite doesn't set it.")
	}
	if keepsOOMKiller(h.Resources) {
		warnings = append(warnings, "Disabling the OOM killer is discarded: control groups of version 2 can't do without it.")
	}
	return warnings, nil
}

// keepsOOMKiller tells that a container asks for a life without the OOM killer, and
// the kernel has none to give.
func keepsOOMKiller(r container.Resources) bool {
	return r.OomKillDisable != nil && *r.OomKillDisable && cgroupVersion() == "2"
}

// onlyFields refuses a struct in which a field outside of the list is set. An
// empty list, map or pointed-to zero counts as not set: clients send them.
func onlyFields(v any, what string, here []string) error {
	s := reflect.ValueOf(v)
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		if !slices.Contains(here, name) && isSet(s.Field(i)) {
			return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have %s.%s yet", what, name)
		}
	}
	return nil
}

func isSet(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && isSet(v.Elem())
	default:
		return !v.IsZero()
	}
}

func checkConfig(req container.CreateRequest) error {
	c := req.Config
	switch {
	case len(c.Volumes) > 0:
		return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have Config.Volumes yet")
	case len(c.OnBuild) > 0:
		return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have Config.OnBuild yet")
	}
	if c.StopSignal != "" {
		if _, err := parseSignal(c.StopSignal); err != nil {
			return err
		}
	}
	return nil
}

// checkModes looks at the fields of which some values are there and others not.
func checkModes(req container.CreateRequest) error {
	h := req.HostConfig
	modes := []struct {
		name, value string
		here        []string
	}{
		{"HostConfig.NetworkMode", string(h.NetworkMode), []string{"default", "bridge", "none", "host"}},
		{"HostConfig.LogConfig.Type", h.LogConfig.Type, []string{"json-file", "none"}},
		{"HostConfig.IpcMode", string(h.IpcMode), []string{"private", "host", "none", "shareable"}},
		{"HostConfig.PidMode", string(h.PidMode), []string{"host"}},
		{"HostConfig.UTSMode", string(h.UTSMode), []string{"host"}},
		{"HostConfig.UsernsMode", string(h.UsernsMode), []string{"host"}},
		{"HostConfig.CgroupnsMode", string(h.CgroupnsMode), []string{"private", "host"}},
		{"HostConfig.Isolation", string(h.Isolation), []string{"default"}},
	}
	for _, m := range modes {
		if m.value != "" && !slices.Contains(m.here, m.value) {
			return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have %s %q yet", m.name, m.value)
		}
	}
	if len(h.LogConfig.Config) > 0 {
		return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have HostConfig.LogConfig.Config yet")
	}
	return nil
}

// checkEndpoints refuses settings of networks that aren't there. The CLI always
// sends an empty one for the network mode.
func checkEndpoints(req container.CreateRequest) error {
	if req.NetworkingConfig == nil {
		return nil
	}
	for name, endpoint := range req.NetworkingConfig.EndpointsConfig {
		if !slices.Contains([]string{"default", "bridge", "none", "host"}, name) {
			return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have network %q: user-defined networks come later", name)
		}
		if endpoint == nil {
			continue
		}
		if err := onlyFields(network.EndpointSettings{
			IPAMConfig: endpoint.IPAMConfig, Links: endpoint.Links, Aliases: endpoint.Aliases, DriverOpts: endpoint.DriverOpts,
		}, "EndpointSettings", nil); err != nil {
			return err
		}
	}
	return nil
}
