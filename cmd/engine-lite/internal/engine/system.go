package engine

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/moby/moby/api/types/system"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
)

// Version tells what the engine and its runtime daemon are.
func (e *Engine) Version(ctx context.Context) (system.VersionResponse, error) {
	v := system.VersionResponse{
		Platform: system.PlatformInfo{Name: "engine-lite"}, Version: e.opts.Version,
		Os: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version(), KernelVersion: host.KernelVersion(),
		Components: []system.ComponentVersion{{
			Name: "Engine", Version: e.opts.Version,
			Details: map[string]string{"Os": runtime.GOOS, "Arch": runtime.GOARCH, "KernelVersion": host.KernelVersion(), "GoVersion": runtime.Version()},
		}},
	}
	name, version, err := e.daemon.Version(ctx)
	if err != nil {
		name, version = "runtime daemon", "unreachable: "+err.Error()
	}
	v.Components = append(v.Components, system.ComponentVersion{Name: name, Version: version})
	return v, nil
}

// Info tells about the engine, its host and its containers.
func (e *Engine) Info(ctx context.Context) (system.Info, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return system.Info{}, err
	}
	list, err := e.ImageList(ctx, false, nil)
	if err != nil {
		return system.Info{}, err
	}
	info := system.Info{
		ID: e.store.ID(), Images: len(list), Driver: e.images.Snapshotter(), Name: hostname,
		Plugins:     system.PluginsInfo{Log: []string{"json-file", "none"}, Network: []string{"host", "null"}, Volume: []string{}},
		MemoryLimit: true, SwapLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, CPUSet: true, PidsLimit: true,
		IPv4Forwarding: true, OomKillDisable: host.CgroupVersion() == "1", NGoroutines: runtime.NumGoroutine(),
		SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: "json-file",
		CgroupDriver: "cgroupfs", CgroupVersion: host.CgroupVersion(), KernelVersion: host.KernelVersion(),
		OperatingSystem: host.OperatingSystem(), OSType: runtime.GOOS, Architecture: host.Architecture(),
		NCPU: runtime.NumCPU(), MemTotal: host.MemoryTotal(), DockerRootDir: e.opts.Root, ServerVersion: e.opts.Version,
		IndexServerAddress: "https://index.docker.io/v1/", Labels: []string{}, LiveRestoreEnabled: true,
		DefaultRuntime: e.opts.Runtime, Runtimes: e.runtimes(),
		SecurityOptions: []string{"name=seccomp,profile=builtin"}, Warnings: []string{"engine-lite has no bridged networks, volumes and builds yet"},
	}
	if err := e.store.Room(ctx); err != nil {
		info.Warnings = append(info.Warnings, "nothing new is begun: "+err.Error())
	}
	e.countContainers(&info)
	return info, nil
}

func (e *Engine) countContainers(info *system.Info) {
	for _, r := range e.roster.Sorted() {
		info.Containers++
		switch r.Status {
		case record.StatusRunning, record.StatusRestarting:
			info.ContainersRunning++
		case record.StatusPaused:
			info.ContainersPaused++
		default:
			info.ContainersStopped++
		}
	}
}
