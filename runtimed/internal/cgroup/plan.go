package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/containerd/cgroups/v3"

	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// Planned are the directories of the control groups that the OCI runtime is about to make for a container, written down before it is called: killed in the
// middle, or failing, it may leave them without a state by which it would know them again.
type Planned struct {
	Dirs []string `json:"dirs,omitempty"`
	// Existing are those of Dirs that were there before, and so are not this container's to remove.
	Existing []string `json:"foreign,omitempty"`
}

// PlanGroups lists the control groups that an OCI runtime is about to make for a container with a spec's path. With fromRoot a relative path begins at the root of
// each hierarchy.
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

// groupsBelow are the paths in one hierarchy at which the OCI runtime may make the group of a spec's path, when it is in the group own itself. A relative path
// begins for crun at the hierarchy's root, for runc and gVisor at their own group, and for runc in version 2 beside that (runc: libcontainer/cgroups/fs/paths.go and
// fs2/defaultpath.go; crun: src/libcrun/cgroup.c); without a path the id takes its place.
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
