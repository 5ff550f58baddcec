package tests

import (
	"strings"
	"testing"
)

// TestDockerUpdate changes limits of a running container: the kernel has them at once, and
// inspect shows them.
func TestDockerUpdate(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	name := d.sleeper(t, "-m", "64m", "--memory-swap", "128m")
	const limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/pids/pids.max"
	d.ok(t, "update", "-m", "32m", "--memory-swap", "64m", "--cpu-shares", "512", "--pids-limit", "50", name)
	if got := d.ok(t, "exec", name, "sh", "-c", limits); !strings.HasPrefix(got, "33554432\n512\n50") {
		t.Errorf("the kernel has the limits %q", got)
	}
	d.ok(t, "update", "--pids-limit", "-1", "--restart", "always", name)
	if got := d.ok(t, "exec", name, "sh", "-c", limits); !strings.HasPrefix(got, "33554432\n512\n4194304") {
		t.Errorf("the kernel has the limits %q", got)
	}
	const shown = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuShares}} {{.HostConfig.RestartPolicy.Name}}"
	if got := d.ok(t, "inspect", "-f", shown, name); got != "33554432 67108864 512 always" {
		t.Errorf("inspect shows %q", got)
	}
	d.fails(t, 1, "memoryswap", "update", "-m", "1g", name)
	d.ok(t, "rm", "-f", name)
}
