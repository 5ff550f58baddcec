// Package host is what the machine is: its kernel, memory, processors and control groups.
// Package host is what the machine is: its kernel, memory, processors and control groups.
package host

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func uname() unix.Utsname {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails for a bad pointer only
	return u
}

func KernelVersion() string { u := uname(); return unix.ByteSliceToString(u.Release[:]) }
func Architecture() string  { u := uname(); return unix.ByteSliceToString(u.Machine[:]) }

// CgroupVersion is 2 where /sys/fs/cgroup is the unified hierarchy (cgroups(7)).
func CgroupVersion() string {
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "2"
	}
	return "1"
}

// HasSwapLimit tells whether the kernel can limit swap: it has memory and swap together in version 1
// (Documentation/admin-guide/cgroup-v1/memory.rst) where swap accounting is on, and swap alone in version 2.
func HasSwapLimit() bool {
	file := "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
	if CgroupVersion() == "2" {
		file = "/proc/swaps" // of each kernel that can swap; the root of version 2 has no limits to look at
	}
	_, err := os.Stat(file)
	return err == nil
}

// HasRealtimeLimits tells whether the kernel shares out the time of real-time processes among control groups
// (Documentation/scheduler/sched-rt-group.rst). Version 2 does not.
func HasRealtimeLimits() bool {
	_, err := os.Stat("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
	return err == nil && CgroupVersion() == "1"
}

// HasSELinux tells whether SELinux is enabled: its filesystem is mounted then
// (Documentation/admin-guide/LSM/SELinux.rst).
func HasSELinux() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/selinux", &st) == nil && st.Type == unix.SELINUX_MAGIC
}

// OperatingSystem is the PRETTY_NAME of os-release(5).
func OperatingSystem() string {
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

func MemoryTotal() int64 {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return 0
	}
	return int64(s.Totalram) * int64(s.Unit)
}
