package inspect

import (
	"maps"
	"slices"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// Config turns the engine's own form of a configuration into the API's.
func Config(c *record.Config) *container.Config {
	return &container.Config{
		Hostname: c.Hostname, Domainname: c.Domainname, User: c.User,
		AttachStdin: c.AttachStdin, AttachStdout: c.AttachStdout, AttachStderr: c.AttachStderr,
		ExposedPorts: ports(c.ExposedPorts, func(v struct{}) struct{} { return v }),
		Tty:          c.Tty, OpenStdin: c.OpenStdin, StdinOnce: c.StdinOnce,
		Env: slices.Clone(c.Env), Cmd: slices.Clone(c.Cmd), Healthcheck: healthConfig(c.Healthcheck), ArgsEscaped: c.ArgsEscaped,
		Image: c.Image, Volumes: maps.Clone(c.Volumes), WorkingDir: c.WorkingDir, Entrypoint: slices.Clone(c.Entrypoint),
		NetworkDisabled: c.NetworkDisabled, OnBuild: slices.Clone(c.OnBuild), Labels: maps.Clone(c.Labels),
		StopSignal: c.StopSignal, StopTimeout: c.StopTimeout, Shell: slices.Clone(c.Shell),
	}
}

func healthConfig(h *record.HealthConfig) *container.HealthConfig {
	if h == nil {
		return nil
	}
	return &container.HealthConfig{
		Test: slices.Clone(h.Test), Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod,
		StartInterval: h.StartInterval, Retries: h.Retries,
	}
}

// HostConfig turns the engine's own form of a host configuration into the API's.
func HostConfig(h *record.HostConfig) *container.HostConfig {
	return &container.HostConfig{
		Binds: slices.Clone(h.Binds), ContainerIDFile: h.ContainerIDFile,
		LogConfig:   container.LogConfig{Type: h.LogConfig.Type, Config: maps.Clone(h.LogConfig.Config)},
		NetworkMode: container.NetworkMode(h.NetworkMode), PortBindings: ports(h.PortBindings, portBindings),
		RestartPolicy: container.RestartPolicy{
			Name: container.RestartPolicyMode(h.RestartPolicy.Name), MaximumRetryCount: h.RestartPolicy.MaximumRetryCount,
		},
		AutoRemove: h.AutoRemove, VolumeDriver: h.VolumeDriver, VolumesFrom: slices.Clone(h.VolumesFrom),
		ConsoleSize: h.ConsoleSize, Annotations: maps.Clone(h.Annotations),
		CapAdd: slices.Clone(h.CapAdd), CapDrop: slices.Clone(h.CapDrop), CgroupnsMode: container.CgroupnsMode(h.CgroupnsMode),
		DNS: slices.Clone(h.DNS), DNSOptions: slices.Clone(h.DNSOptions), DNSSearch: slices.Clone(h.DNSSearch),
		ExtraHosts: slices.Clone(h.ExtraHosts), GroupAdd: slices.Clone(h.GroupAdd), IpcMode: container.IpcMode(h.IpcMode),
		Cgroup: container.CgroupSpec(h.Cgroup), Links: slices.Clone(h.Links), OomScoreAdj: h.OomScoreAdj,
		PidMode: container.PidMode(h.PidMode), Privileged: h.Privileged, PublishAllPorts: h.PublishAllPorts,
		ReadonlyRootfs: h.ReadonlyRootfs, SecurityOpt: slices.Clone(h.SecurityOpt), Tmpfs: maps.Clone(h.Tmpfs),
		UTSMode: container.UTSMode(h.UTSMode), UsernsMode: container.UsernsMode(h.UsernsMode), ShmSize: h.ShmSize,
		Sysctls: maps.Clone(h.Sysctls), Runtime: h.Runtime, Umask: h.Umask, Isolation: container.Isolation(h.Isolation),
		Resources: resources(&h.Resources), MaskedPaths: slices.Clone(h.MaskedPaths), ReadonlyPaths: slices.Clone(h.ReadonlyPaths),
		Init: h.Init, Mounts: each(h.Mounts, mountRequest),
	}
}

func resources(r *record.Resources) container.Resources {
	return container.Resources{
		CPUShares: r.CPUShares, Memory: r.Memory, NanoCPUs: r.NanoCPUs, CgroupParent: r.CgroupParent,
		BlkioWeight: r.BlkioWeight, BlkioWeightDevice: each(r.BlkioWeightDevice, weight),
		BlkioDeviceReadBps: each(r.BlkioDeviceReadBps, throttle), BlkioDeviceWriteBps: each(r.BlkioDeviceWriteBps, throttle),
		BlkioDeviceReadIOps: each(r.BlkioDeviceReadIOps, throttle), BlkioDeviceWriteIOps: each(r.BlkioDeviceWriteIOps, throttle),
		CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota, CPURealtimePeriod: r.CPURealtimePeriod, CPURealtimeRuntime: r.CPURealtimeRuntime,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems, Devices: each(r.Devices, device),
		DeviceCgroupRules: slices.Clone(r.DeviceCgroupRules), DeviceRequests: each(r.DeviceRequests, deviceRequest),
		MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap, MemorySwappiness: r.MemorySwappiness,
		OomKillDisable: r.OomKillDisable, PidsLimit: r.PidsLimit, Ulimits: each(r.Ulimits, ulimit),
		CPUCount: r.CPUCount, CPUPercent: r.CPUPercent, IOMaximumIOps: r.IOMaximumIOps, IOMaximumBandwidth: r.IOMaximumBandwidth,
	}
}

func weight(w record.WeightDevice) *blkiodev.WeightDevice {
	return &blkiodev.WeightDevice{Path: w.Path, Weight: w.Weight}
}

func throttle(d record.ThrottleDevice) *blkiodev.ThrottleDevice {
	return &blkiodev.ThrottleDevice{Path: d.Path, Rate: d.Rate}
}

func device(d record.DeviceMapping) container.DeviceMapping {
	return container.DeviceMapping{PathOnHost: d.PathOnHost, PathInContainer: d.PathInContainer, CgroupPermissions: d.CgroupPermissions}
}

func deviceRequest(d record.DeviceRequest) container.DeviceRequest {
	return container.DeviceRequest{
		Driver: d.Driver, Count: d.Count, DeviceIDs: slices.Clone(d.DeviceIDs), Capabilities: slices.Clone(d.Capabilities),
		Options: maps.Clone(d.Options),
	}
}

func ulimit(l record.Ulimit) *container.Ulimit {
	return &container.Ulimit{Name: l.Name, Hard: l.Hard, Soft: l.Soft}
}

func portBindings(list []record.PortBinding) []network.PortBinding {
	return each(list, func(b record.PortBinding) network.PortBinding {
		return network.PortBinding{HostIP: b.HostIP, HostPort: b.HostPort}
	})
}

// each converts a list. An empty one stays apart from none.
func each[A, B any](list []A, convert func(A) B) []B {
	if list == nil {
		return nil
	}
	converted := make([]B, len(list))
	for i, v := range list {
		converted[i] = convert(v)
	}
	return converted
}

// ports converts a map whose keys are ports, likewise. What is no port, by the API's rules of today, is left out: it
// must not keep the rest from being shown.
func ports[A, B any](from map[string]A, convert func(A) B) map[network.Port]B {
	if from == nil {
		return nil
	}
	converted := make(map[network.Port]B, len(from))
	for name, v := range from {
		if p, err := network.ParsePort(name); err == nil {
			converted[p] = convert(v)
		}
	}
	return converted
}
