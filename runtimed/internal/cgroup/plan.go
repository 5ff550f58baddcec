package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/containerd/cgroups/v3"

	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// Planned are the directories of the control groups that an OCI runtime is about to make for a container. They are
// written down before the call: a runtime that is killed, or fails, can leave groups behind without any state that
// names them.
type Planned struct {
	Dirs []string `json:"dirs,omitempty"`
	// Existing are those of Dirs that existed before. They are not removed with the container.
	Existing []string `json:"foreign,omitempty"`
}

// PlanGroups lists the control groups that an OCI runtime is about to make for a container with a spec's path. With
// fromRoot a relative path begins at the root of each hierarchy.
func Plan(path, id string, fromRoot bool) (Planned, error) {
	own, unified, err := cgroups.ParseCgroupFileUnified("/proc/self/cgroup")
	if err != nil {
		return Planned{}, fmt.Errorf("cannot tell this process's control groups: %w", err)
	}
	own[unifiedHierarchy] = unified
	all, err := hierarchiesOf(own)
	if err != nil {
		return Planned{}, err
	}
	var g Planned
	for name, of := range own {
		m := all.mount(name)
		if m == nil {
			continue
		}
		for _, below := range groupsBelow(path, id, relativeTo(m, of), fromRoot, name == unifiedHierarchy) {
			g.Dirs = append(g.Dirs, filepath.Join(m.Mountpoint, below))
		}
	}
	slices.Sort(g.Dirs) // controllers of version 1 can share a mount
	g.Dirs = slices.Compact(g.Dirs)
	for _, dir := range g.Dirs {
		if statefile.Exists(dir) {
			g.Existing = append(g.Existing, dir)
		}
	}
	return g, nil
}

// groupsBelow returns the paths in one hierarchy at which the OCI runtime may make a group. own is the runtime's own
// group. crun begins a relative path at the root of the hierarchy. runc and gVisor begin it at their own group, and
// runc in version 2 beside its own group (runc: libcontainer/cgroups/fs/paths.go and fs2/defaultpath.go; crun:
// src/libcrun/cgroup.c). Without a path, the container's id is the path.
func groupsBelow(path, id, own string, fromRoot, unified bool) []string {
	if path == "" {
		path = id
	}
	inner := filepath.Join("/", path) // which no ".." leads out of
	switch {
	case filepath.IsAbs(path), fromRoot:
		return []string{inner}
	case unified:
		return []string{filepath.Join(own, inner), filepath.Join(filepath.Dir(own), inner)}
	}
	return []string{filepath.Join(own, inner)}
}
