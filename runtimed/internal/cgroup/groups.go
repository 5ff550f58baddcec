package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/moby/sys/mountinfo"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// Groups are the control groups of a task. They are recorded when the task is created: a process that has ended is in
// no group any more, and that is when its counters are wanted.
type Groups struct {
	// V1 maps a controller of version 1, or "name=systemd", to a path below that hierarchy's mount.
	V1 map[string]string `json:"v1,omitempty"`
	// V2 is the path below /sys/fs/cgroup; empty without version 2 or in a hybrid tree, whose controllers are in
	// version 1.
	V2 string `json:"v2,omitempty"`
	// OOMFile counts OOM kills, OOMBase were there at the create.
	OOMFile string `json:"oomFile,omitempty"`
	OOMBase uint64 `json:"oomBase,omitempty"`
}

const cgroupMount = "/sys/fs/cgroup"

// ForProcess looks up the control groups of a living process.
func ForProcess(pid int) (Groups, error) {
	v1, v2, err := cgroups.ParseCgroupFileUnified("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return Groups{}, fmt.Errorf("cannot tell the control groups of process %d: %w", pid, statefile.Classed(err))
	}
	var g Groups
	if cgroups.Mode() == cgroups.Unified {
		g.V2 = v2
		g.OOMFile = filepath.Join(cgroupMount, v2, "memory.events")
	} else if err := g.fillV1(v1); err != nil {
		return Groups{}, err
	}
	g.OOMBase = g.oomKills()
	return g, nil
}

// fillV1 takes the paths of /proc/PID/cgroup.
func (g *Groups) fillV1(paths map[string]string) error {
	all, err := hierarchiesOf(paths)
	if err != nil {
		return err
	}
	g.V1 = make(map[string]string, len(paths))
	var rel string
	for name := range all.asked { // these are kept anyway; those of paths are parts of whole lines
		path, ok := paths[name]
		m := all.mount(name)
		if !ok || m == nil {
			continue
		}
		if r := relativeTo(m, path); r != rel { // one string for all, where they are alike
			rel = r
		}
		g.V1[name] = rel
		if name == "memory" {
			g.OOMFile = filepath.Join(m.Mountpoint, rel, "memory.oom_control")
		}
	}
	return nil
}

// relativeTo returns a path of /proc/PID/cgroup relative to the root of a mount. The two differ inside of a container
// that has no cgroup namespace of its own: there the root of the mount is a group (proc(5), /proc/PID/mountinfo,
// field 4). The result is absolute and clean.
func relativeTo(m *mountinfo.Info, path string) string {
	rel, err := filepath.Rel(m.Root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		rel = path
	}
	return filepath.Join("/", rel) // of a group outside of the cgroup namespace the path begins with "/.."
}

// oomKills reads how many processes the kernel has killed in the group; 0 where that isn't known.
func (g *Groups) oomKills() uint64 {
	if g.OOMFile == "" {
		return 0
	}
	data, err := os.ReadFile(g.OOMFile)
	if err != nil {
		return 0
	}
	return parseOOMKills(data)
}

// OOMKilled tells whether a process of the group was killed for want of memory since the create.
func (g *Groups) OOMKilled() bool {
	return g.oomKills() > g.OOMBase
}

// parseOOMKills finds "oom_kill N" in memory.oom_control (version 1) or memory.events (version 2).
func parseOOMKills(data []byte) uint64 {
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 10, 64); err == nil {
				return n
			}
		}
	}
	return 0
}

// path is where cgroup1 looks up a controller's group.
func (g *Groups) path(name cgroup1.Name) (string, error) {
	if p, ok := g.V1[string(name)]; ok {
		return p, nil
	}
	if p, ok := g.V1["name="+string(name)]; ok {
		return p, nil
	}
	return "", cgroup1.ErrControllerNotActive
}

func (g *Groups) load1() (cgroup1.Cgroup, error) {
	c, err := cgroup1.Load(g.path)
	if errors.Is(err, cgroup1.ErrCgroupDeleted) {
		return nil, fmt.Errorf("the control group is gone: %w", errdefs.ErrNotFound)
	}
	return c, err
}

// Stats reads all counters, as io.containerd.cgroups.v1.Metrics or v2.Metrics. NotFound once the group is gone.
func (g *Groups) Stats() (*anypb.Any, error) {
	if g.V2 != "" {
		m, err := cgroup2.Load(g.V2)
		if err != nil {
			return nil, err
		}
		stats, err := m.Stat()
		if err != nil {
			return nil, statefile.Classed(err)
		}
		return typeurl.MarshalAnyToProto(stats)
	}
	c, err := g.load1()
	if err != nil {
		return nil, err
	}
	stats, err := c.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return nil, err
	}
	return typeurl.MarshalAnyToProto(stats)
}

// Pids lists the processes of the group and those below it.
func (g *Groups) Pids() ([]int, error) {
	var list []int
	if g.V2 != "" {
		m, err := cgroup2.Load(g.V2)
		if err != nil {
			return nil, err
		}
		procs, err := m.Procs(true)
		if err != nil {
			return nil, statefile.Classed(err)
		}
		for _, pid := range procs {
			list = append(list, int(pid))
		}
		return list, nil
	}
	c, err := g.load1()
	if err != nil {
		return nil, err
	}
	procs, err := c.Processes(cgroup1.Pids, true)
	if errors.Is(err, cgroup1.ErrControllerNotActive) {
		procs, err = c.Processes(cgroup1.Freezer, true)
	}
	if err != nil {
		return nil, statefile.Classed(err)
	}
	for _, p := range procs {
		list = append(list, p.Pid)
	}
	return list, nil
}
