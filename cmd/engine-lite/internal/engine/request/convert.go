package request

import (
	"maps"
	"slices"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// Config turns the API's form of a configuration into the engine's own.
func Config(c *container.Config) *record.Config {
	return &record.Config{
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

func healthConfig(h *container.HealthConfig) *record.HealthConfig {
	if h == nil {
		return nil
	}
	return &record.HealthConfig{
		Test: slices.Clone(h.Test), Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod,
		StartInterval: h.StartInterval, Retries: h.Retries,
	}
}

// HostConfig turns the API's form of a host configuration into the engine's own. What has no place there is refused by
// [Check].
func HostConfig(h *container.HostConfig) *record.HostConfig {
	return &record.HostConfig{
		Binds: slices.Clone(h.Binds), ContainerIDFile: h.ContainerIDFile,
		LogConfig:   record.LogConfig{Type: h.LogConfig.Type, Config: maps.Clone(h.LogConfig.Config)},
		NetworkMode: record.NetworkMode(h.NetworkMode), PortBindings: ports(h.PortBindings, portBindings),
		RestartPolicy: record.RestartPolicy{
			Name: record.RestartPolicyMode(h.RestartPolicy.Name), MaximumRetryCount: h.RestartPolicy.MaximumRetryCount,
		},
		AutoRemove: h.AutoRemove, VolumeDriver: h.VolumeDriver, VolumesFrom: slices.Clone(h.VolumesFrom),
		ConsoleSize: h.ConsoleSize, Annotations: maps.Clone(h.Annotations),
		CapAdd: slices.Clone(h.CapAdd), CapDrop: slices.Clone(h.CapDrop), CgroupnsMode: record.CgroupnsMode(h.CgroupnsMode),
		DNS: slices.Clone(h.DNS), DNSOptions: slices.Clone(h.DNSOptions), DNSSearch: slices.Clone(h.DNSSearch),
		ExtraHosts: slices.Clone(h.ExtraHosts), GroupAdd: slices.Clone(h.GroupAdd), IpcMode: record.IpcMode(h.IpcMode),
		Cgroup: string(h.Cgroup), Links: slices.Clone(h.Links), OomScoreAdj: h.OomScoreAdj, PidMode: record.PidMode(h.PidMode),
		Privileged: h.Privileged, PublishAllPorts: h.PublishAllPorts, ReadonlyRootfs: h.ReadonlyRootfs,
		SecurityOpt: slices.Clone(h.SecurityOpt), Tmpfs: maps.Clone(h.Tmpfs), UTSMode: record.UTSMode(h.UTSMode),
		UsernsMode: record.UsernsMode(h.UsernsMode), ShmSize: h.ShmSize, Sysctls: maps.Clone(h.Sysctls), Runtime: h.Runtime,
		Umask: h.Umask, Isolation: string(h.Isolation), Resources: resources(&h.Resources),
		MaskedPaths: slices.Clone(h.MaskedPaths), ReadonlyPaths: slices.Clone(h.ReadonlyPaths), Init: h.Init,
		Mounts: each(h.Mounts, mountRequest),
	}
}

func resources(r *container.Resources) record.Resources {
	return record.Resources{
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

func weight(w *blkiodev.WeightDevice) record.WeightDevice {
	return record.WeightDevice{Path: w.Path, Weight: w.Weight}
}

func throttle(d *blkiodev.ThrottleDevice) record.ThrottleDevice {
	return record.ThrottleDevice{Path: d.Path, Rate: d.Rate}
}

func device(d container.DeviceMapping) record.DeviceMapping {
	return record.DeviceMapping{PathOnHost: d.PathOnHost, PathInContainer: d.PathInContainer, CgroupPermissions: d.CgroupPermissions}
}

func deviceRequest(d container.DeviceRequest) record.DeviceRequest {
	return record.DeviceRequest{
		Driver: d.Driver, Count: d.Count, DeviceIDs: slices.Clone(d.DeviceIDs), Capabilities: slices.Clone(d.Capabilities),
		Options: maps.Clone(d.Options),
	}
}

func ulimit(l *container.Ulimit) record.Ulimit {
	return record.Ulimit{Name: l.Name, Hard: l.Hard, Soft: l.Soft}
}

func portBindings(list []network.PortBinding) []record.PortBinding {
	return each(list, func(b network.PortBinding) record.PortBinding {
		return record.PortBinding{HostIP: b.HostIP, HostPort: b.HostPort}
	})
}

// Exec turns the API's form of what a user asks of an exec into the engine's own.
func Exec(req container.ExecCreateRequest) record.ExecRequest {
	return record.ExecRequest{
		User: req.User, Privileged: req.Privileged, Tty: req.Tty, ConsoleSize: req.ConsoleSize,
		AttachStdin: req.AttachStdin, AttachStderr: req.AttachStderr, AttachStdout: req.AttachStdout,
		DetachKeys: req.DetachKeys, Env: slices.Clone(req.Env), WorkingDir: req.WorkingDir, Cmd: slices.Clone(req.Cmd),
	}
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

// ports converts a map whose keys are ports, likewise.
func ports[A, B any](from map[network.Port]A, convert func(A) B) map[string]B {
	if from == nil {
		return nil
	}
	converted := make(map[string]B, len(from))
	for p, v := range from {
		converted[p.String()] = convert(v)
	}
	return converted
}
