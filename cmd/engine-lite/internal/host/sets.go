package host

import (
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// The processors and the memory nodes that the kernel has, as a list of numbers and ranges
// (Documentation/ABI/testing/sysfs-devices-system-cpu, and sysfs-devices-node).
const (
	onlineCPUs  = "/sys/devices/system/cpu/online"
	onlineNodes = "/sys/devices/system/node/online"
)

// CheckCPUSet refuses processors that this machine does not have. The list is one of cpuset(7): numbers and ranges, with
// commas between them; empty for all. Errors: InvalidArgument, in Docker's words.
func CheckCPUSet(list string) error {
	return checkSet(list, onlineCPUs, "Requested CPUs are not available", "cpuset cpus")
}

// CheckMemorySet refuses nodes of memory that this machine does not have; see [CheckCPUSet].
func CheckMemorySet(list string) error {
	return checkSet(list, onlineNodes, "Requested memory nodes are not available", "cpuset mems")
}

func checkSet(list, file, refusal, what string) error {
	if list == "" {
		return nil
	}
	wanted, ok := parseSet(list)
	if !ok {
		return classed.Errorf(errdefs.ErrInvalidArgument, "Invalid value %s for %s: invalid format: %s", list, what, list)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		text = []byte("0") // a kernel without NUMA has one node
	}
	available := strings.TrimSpace(string(text))
	has, _ := parseSet(available)
	for n := range wanted {
		if !has[n] {
			return classed.Errorf(errdefs.ErrInvalidArgument, "%s - requested %s, available: %s", refusal, list, available)
		}
	}
	return nil
}

// maxInSet bounds the numbers of a set: no kernel has more processors.
const maxInSet = 8192

// parseSet reads "0-2,7". ok is false for anything else.
func parseSet(list string) (set map[int]bool, ok bool) {
	set = map[int]bool{}
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil || from >= maxInSet {
			return nil, false
		}
		to, err := strconv.ParseUint(last, 10, 16)
		if err != nil || to < from || to >= maxInSet {
			return nil, false
		}
		for n := from; n <= to; n++ {
			set[int(n)] = true
		}
	}
	return set, true
}
