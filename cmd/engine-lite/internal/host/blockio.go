package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// BlockIO tells which limits of block I/O the kernel has.
type BlockIO struct {
	Weight, WeightDevice, ReadBps, WriteBps, ReadIOps, WriteIOps bool
}

// BlockIOLimits asks the kernel. Version 1 shows a file for each limit at the root, and weights only for schedulers that
// are older than Linux 5.0 (Documentation/admin-guide/cgroup-v1/blkio-controller.rst). Version 2 has no such files at
// the root: its controller stands for all limits.
func BlockIOLimits() BlockIO {
	return blockIOLimits("/sys/fs/cgroup", CgroupVersion())
}

func blockIOLimits(root, version string) BlockIO {
	if version == "2" {
		text, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
		has := err == nil && slices.Contains(strings.Fields(string(text)), "io")
		return BlockIO{has, has, has, has, has, has}
	}
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(root, "blkio", "blkio."+name))
		return err == nil
	}
	return BlockIO{
		Weight: has("weight"), WeightDevice: has("weight_device"),
		ReadBps: has("throttle.read_bps_device"), WriteBps: has("throttle.write_bps_device"),
		ReadIOps: has("throttle.read_iops_device"), WriteIOps: has("throttle.write_iops_device"),
	}
}
