package engine

import (
	"bufio"
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// Version tells what the engine and its runtime daemon are.
func (e *Engine) Version(ctx context.Context) (system.VersionResponse, error) {
	v := system.VersionResponse{
		Platform: system.PlatformInfo{Name: "engine-lite"}, Version: e.opts.Version,
		Os: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version(), KernelVersion: kernelVersion(),
		Components: []system.ComponentVersion{{
			Name: "Engine", Version: e.opts.Version,
			Details: map[string]string{"Os": runtime.GOOS, "Arch": runtime.GOARCH, "KernelVersion": kernelVersion(), "GoVersion": runtime.Version()},
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
		IPv4Forwarding: true, OomKillDisable: cgroupVersion() == "1", NGoroutines: runtime.NumGoroutine(),
		SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: "json-file",
		CgroupDriver: "cgroupfs", CgroupVersion: cgroupVersion(), KernelVersion: kernelVersion(),
		OperatingSystem: operatingSystem(), OSType: runtime.GOOS, Architecture: machine(),
		NCPU: runtime.NumCPU(), MemTotal: memTotal(), DockerRootDir: e.opts.Root, ServerVersion: e.opts.Version,
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
	for _, r := range e.roster.sorted() {
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

func uname() unix.Utsname {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails for a bad pointer only
	return u
}

func kernelVersion() string { u := uname(); return unix.ByteSliceToString(u.Release[:]) }
func machine() string       { u := uname(); return unix.ByteSliceToString(u.Machine[:]) }

// cgroupVersion is 2 where /sys/fs/cgroup is the unified hierarchy (cgroups(7)).
func cgroupVersion() string {
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "2"
	}
	return "1"
}

// operatingSystem is the PRETTY_NAME of os-release(5).
func operatingSystem() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			if text, err := strconv.Unquote(name); err == nil {
				return text
			}
			return name
		}
	}
	return runtime.GOOS
}

func memTotal() int64 {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return 0
	}
	return int64(s.Totalram) * int64(s.Unit)
}

var networkFilters = []string{"driver", "id", "label", "name", "scope", "type", "dangling"}

// networks are those that every engine has. Those that the user makes come
// later.
func networks() []network.Network {
	list := []network.Network{{Name: "host", Driver: "host"}, {Name: "none", Driver: "null"}}
	for i := range list {
		n := &list[i]
		n.ID, n.Scope, n.EnableIPv4 = inspect.NetworkID(n.Name), "local", true
		n.Options, n.Labels = map[string]string{}, map[string]string{}
		n.IPAM = network.IPAM{Driver: "default", Config: []network.IPAMConfig{}}
	}
	return list
}

// NetworkList lists the networks.
func (e *Engine) NetworkList(_ context.Context, f Filters) ([]network.Summary, error) {
	if err := checkFilters(f, networkFilters); err != nil {
		return nil, err
	}
	list := []network.Summary{}
	for _, n := range networks() {
		if f.match("name", func(v string) bool { return strings.Contains(n.Name, v) }) &&
			f.match("id", func(v string) bool { return strings.HasPrefix(n.ID, v) }) &&
			f.match("driver", func(v string) bool { return v == n.Driver }) &&
			f.match("scope", func(v string) bool { return v == n.Scope }) &&
			f.match("type", func(v string) bool { return v == "builtin" }) && len(f["label"]) == 0 {
			list = append(list, network.Summary{Network: n})
		}
	}
	return list, nil
}

// NetworkInspect describes a network and the containers in it.
func (e *Engine) NetworkInspect(_ context.Context, ref string) (network.Inspect, error) {
	for _, n := range networks() {
		if n.Name != ref && !strings.HasPrefix(n.ID, ref) {
			continue
		}
		in := network.Inspect{Network: n, Containers: map[string]network.EndpointResource{}}
		for _, r := range e.roster.sorted() {
			if r.Running() && r.HostConfig.NetworkMode == record.NetworkMode(n.Name) {
				in.Containers[r.ID] = network.EndpointResource{Name: r.Name}
			}
		}
		return in, nil
	}
	return network.Inspect{}, classed.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
}
