// Package request turns what a user asks for, in the types of Docker's API, into the engine's own types.
//
// What the engine does not have is refused by its name. The check walks over all fields, so that one which a newer
// version of the API brings is refused before anybody thinks of it. The package does nothing else: it reads no file and
// asks nobody.
package request

import (
	"reflect"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logdriver"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/signals"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// hostConfigHere are the fields of a HostConfig that the engine acts on, or
// checks by itself. Each other one has to be at its zero value.
var hostConfigHere = []string{
	"LogConfig", "NetworkMode", "RestartPolicy", "AutoRemove", "ConsoleSize", "Annotations", "CapAdd", "CapDrop",
	"CgroupnsMode", "ExtraHosts", "GroupAdd", "IpcMode", "OomScoreAdj", "PidMode", "Privileged", "ReadonlyRootfs",
	"SecurityOpt", "Tmpfs", "UTSMode", "UsernsMode", "ShmSize", "Sysctls", "MaskedPaths", "ReadonlyPaths", "Resources",
	"Runtime", "Umask", "Isolation", "DNS", "DNSOptions", "DNSSearch", "Binds", "Mounts", "VolumesFrom", "VolumeDriver", "Init",
	"ContainerIDFile",
}

// resourcesHere are those of its Resources.
var resourcesHere = []string{
	"CPUShares", "Memory", "NanoCPUs", "CPUPeriod", "CPUQuota", "CpusetCpus", "CpusetMems", "MemoryReservation",
	"MemorySwap", "MemorySwappiness", "OomKillDisable", "PidsLimit", "Ulimits", "BlkioWeight", "BlkioWeightDevice",
	"BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps", "CgroupParent",
	"CPURealtimePeriod", "CPURealtimeRuntime", "Devices", "DeviceCgroupRules",
}

// Host is what the meaning of a request depends on.
type Host struct {
	// ControlGroups2 tells that the kernel has control groups of version 2 alone.
	ControlGroups2 bool
	// BlockIO are the limits of block I/O that the kernel has.
	BlockIO BlockIO
	// Name returns the host's name. It is asked for only where a container shares it.
	Name func() (string, error)
}

// Check refuses what the engine does not have, by name, and warns of what the request asks for and the engine has only
// in part. A request that names no network asks for none: programs take warnings for faults, and docker's command line
// always names one. Errors: NotImplemented, and InvalidArgument for what makes no sense. The request has a Config and a
// HostConfig.
func Check(req container.CreateRequest, host Host) (warnings []string, err error) {
	h := req.HostConfig
	if err := checkDrivers(h); err != nil {
		return nil, err
	}
	if err := onlyFields(*h, "HostConfig", hostConfigHere); err != nil {
		return nil, err
	}
	if err := onlyFields(h.Resources, "HostConfig", resourcesHere); err != nil {
		return nil, err
	}
	for _, check := range []func(container.CreateRequest) error{
		checkConfig, checkHostname, checkModes, checkRestartPolicy, checkUlimits, checkEndpoints,
	} {
		if err := check(req); err != nil {
			return nil, err
		}
	}
	if err := checkBlockIO(&h.Resources); err != nil {
		return nil, err
	}
	if h.NetworkMode.IsDefault() || h.NetworkMode == "bridge" {
		warnings = append(warnings, "engine-lite has no bridged networks yet: the container has a loopback interface only. --network none says so, --network host shares the host's.")
	}
	if h.OomKillDisable != nil && *h.OomKillDisable && h.Memory == 0 {
		warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, "+
			"this can result in the system running out of resources.")
	}
	return warnings, nil
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
	for _, kv := range c.Env {
		if kv == "" || kv[0] == '=' {
			return classed.Errorf(errdefs.ErrInvalidArgument, "invalid environment variable: %s", kv)
		}
	}
	if len(c.OnBuild) > 0 {
		return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have Config.OnBuild yet")
	}
	if c.StopSignal != "" {
		if _, err := signals.Parse(c.StopSignal); err != nil {
			return err
		}
	}
	return nil
}

// maxHostname is the kernel's bound, in bytes (__NEW_UTS_LEN in include/uapi/linux/utsname.h).
const maxHostname = 64

// checkHostname refuses a name that the container cannot have, in Docker's words.
func checkHostname(req container.CreateRequest) error {
	switch {
	case len(req.Hostname) > maxHostname:
		return classed.Errorf(errdefs.ErrInvalidArgument,
			"hostname %q is too long (maximum %d bytes)", req.Hostname, maxHostname)
	case req.Hostname != "" && req.HostConfig.UTSMode.IsHost():
		return classed.Errorf(errdefs.ErrInvalidArgument, "conflicting options: hostname and the UTS mode")
	case req.Domainname != "" && req.HostConfig.UTSMode.IsHost():
		return classed.Errorf(errdefs.ErrInvalidArgument, "conflicting options: domainname and the UTS mode")
	}
	return nil
}

// checkModes looks at the fields of which some values are there and others not.
func checkModes(req container.CreateRequest) error {
	h := req.HostConfig
	if err := checkValues(h); err != nil {
		return err
	}
	modes := []struct {
		name, value string
		here        []string
	}{
		{"HostConfig.NetworkMode", string(h.NetworkMode), []string{"default", "bridge", "none", "host"}},
		{"HostConfig.IpcMode", string(h.IpcMode), []string{"private", "host", "none", "shareable", record.OfContainer}},
		{"HostConfig.PidMode", string(h.PidMode), []string{"host", record.OfContainer}},
		{"HostConfig.UTSMode", string(h.UTSMode), []string{"host"}},
		{"HostConfig.UsernsMode", string(h.UsernsMode), []string{"host"}},
		{"HostConfig.CgroupnsMode", string(h.CgroupnsMode), []string{"private", "host"}},
	}
	for _, m := range modes {
		kind := m.value
		if strings.HasPrefix(kind, record.OfContainer) {
			kind = record.OfContainer // whichever container that is
		}
		if kind != "" && !slices.Contains(m.here, kind) {
			return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have %s %q yet", m.name, m.value)
		}
	}
	return logdriver.Check(h.LogConfig.Type, h.LogConfig.Config)
}

// checkValues refuses values that make no sense, in Docker's words.
func checkValues(h *container.HostConfig) error {
	_, emptyKey := h.Annotations[""]
	switch {
	case !h.IpcMode.Valid() || h.IpcMode == record.OfContainer:
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid IPC mode: %s", h.IpcMode)
	case !h.PidMode.Valid():
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid PID mode: %s", h.PidMode)
	case !h.UTSMode.Valid():
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid UTS mode: %s", h.UTSMode)
	case !h.UsernsMode.Valid():
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid user namespace mode: %s", h.UsernsMode)
	case !h.CgroupnsMode.Valid():
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid cgroup namespace mode: %s", h.CgroupnsMode)
	case h.ShmSize < 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "SHM size can not be less than 0")
	case h.Isolation != "" && h.Isolation != "default":
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid isolation (%s): linux only supports 'default'", h.Isolation)
	case emptyKey:
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid Annotations: the empty string is not permitted as an annotation key")
	}
	return nil
}

// checkRestartPolicy refuses a policy that is none.
func checkRestartPolicy(req container.CreateRequest) error {
	h := req.HostConfig
	if err := container.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return classed.Errorf(errdefs.ErrInvalidArgument, "can't create 'AutoRemove' container with restart policy")
	}
	return nil
}

func checkUlimits(req container.CreateRequest) error {
	if slices.Contains(req.HostConfig.Ulimits, nil) {
		return classed.Errorf(errdefs.ErrInvalidArgument, "HostConfig.Ulimits has an empty entry")
	}
	return nil
}

// endpointResults are the fields of an endpoint's settings in which the API tells what a network did. Clients that make
// a container like another one send them along, and Docker passes over them, too.
var endpointResults = []string{
	"NetworkID", "EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen",
	"DNSNames",
}

// checkEndpoints refuses settings of networks that are not there. The CLI always sends an empty one for the network
// mode.
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
		if err := onlyFields(*endpoint, "EndpointSettings", endpointResults); err != nil {
			return err
		}
	}
	return nil
}
