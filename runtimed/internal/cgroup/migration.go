package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
)

// MigrateInPlace moves this process into the control group that it is in, which makes the kernel ready for processes
// that change their control group, as each create and exec does. The group is looked up each time: whoever moves this
// process must not find it moved back.
//
// The first migration after a pause waits for an RCU grace period, 6 to 16 ms where there is nothing else to do
// (kernel/cgroup/cgroup.c, cgroup_attach_lock: a percpu_rw_semaphore; Documentation/locking/percpu-rw-semaphore.rst).
// Those that follow within about 20 ms don't. An OCI runtime comes to its own only after it has started and read its
// files: with one that changes nothing, begun at the same time or as soon as it is known that a runtime will be
// called, the wait goes on beside that.
func MigrateInPlace() error {
	path, err := ownGroup()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(path, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("0") // the writer (Documentation/admin-guide/cgroup-v1/cgroups.rst, 2.2)
	return err
}

// ownGroup finds the directory of a control group of this process, in whichever hierarchy: all have one lock.
// NotFound where none is mounted.
func ownGroup() (string, error) {
	g, err := ForProcess(os.Getpid())
	if err != nil {
		return "", err
	}
	if g.V2 != "" {
		return filepath.Join(cgroupMount, g.V2), nil
	}
	all, err := hierarchiesOf(g.V1)
	if err != nil {
		return "", err
	}
	for name, path := range g.V1 {
		if m := all.mount(name); m != nil {
			return filepath.Join(m.Mountpoint, path), nil
		}
	}
	return "", fmt.Errorf("no control groups are mounted: %w", errdefs.ErrNotFound)
}
