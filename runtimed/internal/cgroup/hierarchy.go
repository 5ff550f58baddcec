package cgroup

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/moby/sys/mountinfo"
)

// hierarchies are the mounts of the control groups, as they were read last. Reading the table of mounts takes long on
// a host with many containers, and the hierarchies of a host hardly ever change.
type hierarchies struct {
	mounts []*mountinfo.Info
	asked  map[string]bool // the names that were looked for, found or not
}

var knownHierarchies atomic.Pointer[hierarchies]

// hierarchiesOf returns the mounts for these names, which are read anew for a name that was never looked for.
func hierarchiesOf(names map[string]string) (*hierarchies, error) {
	h := knownHierarchies.Load()
	if h.has(names) {
		return h, nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the control groups' mounts: %w", err)
	}
	next := &hierarchies{mounts: mounts, asked: make(map[string]bool)}
	if h != nil {
		maps.Copy(next.asked, h.asked)
	}
	for name := range names {
		next.asked[name] = true
	}
	knownHierarchies.Store(next)
	return next, nil
}

func (h *hierarchies) has(names map[string]string) bool {
	if h == nil {
		return false
	}
	for name := range names {
		if !h.asked[name] {
			return false
		}
	}
	return true
}

// unifiedHierarchy is the name of version 2's hierarchy where the others have that of a controller, as in
// /proc/PID/cgroup (cgroups(7)).
const unifiedHierarchy = ""

// mount is where a controller of version 1, "name=systemd" or the unified hierarchy is mounted; nil if it isn't.
func (h *hierarchies) mount(controller string) *mountinfo.Info {
	for _, m := range h.mounts {
		if m.FSType == "cgroup2" {
			if controller == unifiedHierarchy {
				return m
			}
			continue
		}
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if option == controller {
				return m
			}
		}
	}
	return nil
}
