// Package system is what Docker's API tells about the engine itself and its host: version and info.
package system

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/image"
	apisystem "github.com/moby/moby/api/types/system"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Config is what the engine says about itself.
type Config struct {
	// Root is the engine's directory, Version its program's version.
	Root, Version string
	// Runtime is the name of the default OCI runtime, Runtimes are all that have a name.
	Runtime  string
	Runtimes map[string]apisystem.RuntimeWithStatus
	// Snapshotter is the name of what makes root filesystems.
	Snapshotter string
	// Experimental tells that the API has what is experimental in Docker's.
	Experimental bool
}

// Daemon is the runtime daemon.
type Daemon interface {
	Version(ctx context.Context) (name, version string, err error)
}

// Images lists the images.
type Images interface {
	ImageList(ctx context.Context, all, sharedSize bool, f filters.Filters) ([]image.Summary, error)
}

// Service answers for the engine.
type Service struct {
	config     Config
	store      *store.Store
	daemon     Daemon
	images     Images
	containers func() []*record.Record
}

// New returns the service. containers returns the records of all containers.
func New(c Config, s *store.Store, d Daemon, i Images, containers func() []*record.Record) *Service {
	return &Service{config: c, store: s, daemon: d, images: i, containers: containers}
}

// Version tells what the engine and its runtime daemon are.
func (s *Service) Version(ctx context.Context) (apisystem.VersionResponse, error) {
	v := apisystem.VersionResponse{
		Platform: apisystem.PlatformInfo{Name: "engine-lite"}, Version: s.config.Version,
		Os: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version(), KernelVersion: host.KernelVersion(),
		Components: []apisystem.ComponentVersion{{
			Name: "Engine", Version: s.config.Version,
			Details: map[string]string{"Os": runtime.GOOS, "Arch": runtime.GOARCH, "KernelVersion": host.KernelVersion(), "GoVersion": runtime.Version(),
				"Experimental": strconv.FormatBool(s.config.Experimental)},
		}},
	}
	name, version, err := s.daemon.Version(ctx)
	if err != nil {
		name, version = "runtime daemon", "unreachable: "+err.Error()
	}
	v.Components = append(v.Components, apisystem.ComponentVersion{Name: name, Version: version})
	return v, nil
}

// Info tells about the engine, its host and its containers.
func (s *Service) Info(ctx context.Context) (apisystem.Info, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return apisystem.Info{}, err
	}
	list, err := s.images.ImageList(ctx, false, false, nil)
	if err != nil {
		return apisystem.Info{}, err
	}
	info := apisystem.Info{
		ID: s.store.ID(), Images: len(list), Driver: s.config.Snapshotter, Name: hostname,
		Plugins: apisystem.PluginsInfo{
			Log: []string{"json-file", "local", "none"}, Network: []string{"host", "null"}, Volume: []string{"local"},
		},
		MemoryLimit: true, SwapLimit: host.HasSwapLimit(), CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, CPUSet: true, PidsLimit: true,
		IPv4Forwarding: true, OomKillDisable: host.CgroupVersion() == "1", NGoroutines: runtime.NumGoroutine(),
		SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: "json-file",
		CgroupDriver: "cgroupfs", CgroupVersion: host.CgroupVersion(), KernelVersion: host.KernelVersion(),
		OperatingSystem: host.OperatingSystem(), OSType: runtime.GOOS, Architecture: host.Architecture(),
		NCPU: runtime.NumCPU(), MemTotal: host.MemoryTotal(), DockerRootDir: s.config.Root, ServerVersion: s.config.Version,
		IndexServerAddress: "https://index.docker.io/v1/", Labels: []string{}, LiveRestoreEnabled: true,
		DefaultRuntime: s.config.Runtime, Runtimes: s.config.Runtimes,
		ExperimentalBuild: s.config.Experimental, SecurityOptions: []string{"name=seccomp,profile=builtin"}, Warnings: []string{"engine-lite has no bridged networks and no builds yet"},
	}
	if program, err := host.InitProgram(); err == nil { // without one, --init is refused
		info.InitBinary = filepath.Base(program)
	}
	info.Warnings = append(info.Warnings, blockIOWarnings()...)
	if err := s.store.Room(ctx); err != nil {
		info.Warnings = append(info.Warnings, "nothing new is begun: "+err.Error())
	}
	s.countContainers(&info)
	return info, nil
}

func (s *Service) countContainers(info *apisystem.Info) {
	for _, r := range s.containers() {
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
