package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// need is a limit and the controllers that can enforce it.
type need struct {
	limit string   // as the spec names it
	any   []string // the controller's names, in version 1 and 2
}

// needs returns the controllers that the limits need. A limit that is absent, zero or unlimited needs none.
func needs(r *specs.LinuxResources) []need {
	var list []need
	add := func(asked bool, limit string, names ...string) {
		if asked {
			list = append(list, need{limit, names})
		}
	}
	if m := r.Memory; m != nil {
		add(positive(m.Limit) || positive(m.Reservation) || positive(m.Swap) || m.Swappiness != nil || m.DisableOOMKiller != nil && *m.DisableOOMKiller, "memory", "memory")
	}
	if c := r.CPU; c != nil {
		add(positive(c.Shares) || positive(c.Quota) || positive(c.Period) || positive(c.RealtimeRuntime) || positive(c.RealtimePeriod) || c.Idle != nil && *c.Idle != 0, "cpu", "cpu")
		add(c.Cpus != "" || c.Mems != "", "cpuset", "cpuset")
	}
	if p := r.Pids; p != nil {
		add(positive(p.Limit), "pids", "pids")
	}
	if b := r.BlockIO; b != nil {
		devices := len(b.WeightDevice) + len(b.ThrottleReadBpsDevice) + len(b.ThrottleWriteBpsDevice) + len(b.ThrottleReadIOPSDevice) + len(b.ThrottleWriteIOPSDevice)
		add(positive(b.Weight) || positive(b.LeafWeight) || devices > 0, "blockIO", "blkio", "io")
	}
	add(len(r.HugepageLimits) > 0, "hugepageLimits", "hugetlb")
	add(len(r.Rdma) > 0, "rdma", "rdma")
	if n := r.Network; n != nil {
		add(positive(n.ClassID), "network.classID", "net_cls")
		add(len(n.Priorities) > 0, "network.priorities", "net_prio")
	}
	return list
}

func positive[T int64 | uint64 | uint32 | uint16](n *T) bool { return n != nil && *n > 0 }

// RequireControllers refuses limits that no controller of this host enforces. FailedPrecondition names the controller.
func RequireControllers(r *specs.LinuxResources, controllers func() ([]string, error)) error {
	if r == nil {
		return nil
	}
	wanted := needs(r)
	if len(wanted) == 0 {
		return nil
	}
	have, err := controllers()
	if err != nil {
		return err
	}
	for _, n := range wanted {
		if !slices.ContainsFunc(n.any, func(name string) bool { return slices.Contains(have, name) }) {
			return fmt.Errorf("the spec limits %s and this host has no control group controller %q: %w",
				n.limit, n.any[0], errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// Controllers lists what is there: in version 2 what the root group has, else the names in the options of the mounts
// of version 1, which is where OCI runtimes look in a hybrid tree.
func Controllers() ([]string, error) {
	if cgroups.Mode() == cgroups.Unified {
		text, err := os.ReadFile(filepath.Join(cgroupMount, "cgroup.controllers"))
		if err != nil {
			return nil, fmt.Errorf("cannot tell the control groups' controllers: %w", err)
		}
		return strings.Fields(string(text)), nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the control groups' mounts: %w", err)
	}
	var names []string
	for _, m := range mounts {
		names = append(names, strings.Split(m.VFSOptions, ",")...)
	}
	return names, nil
}
