package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunFlags tries flags of docker run with runc. TestCrun does the same with crun.
func TestRunFlags(t *testing.T) {
	t.Parallel()
	runFlags(t, oneDocker(t, sharedRig(t)))
}

// runFlags checks from inside of a few containers that what the flags ask for holds.
func runFlags(t *testing.T, d docker) {
	limitFlags(t, d)
	initFlag(t, d)
	deviceFlags(t, d)
	isolationFlags(t, d)
}

// limitFlags sets all limits that the kernel of this host has, below a control group of the test's own.
func limitFlags(t *testing.T, d docker) {
	parent := ownGroup(t)
	const script = `cd /sys/fs/cgroup
show() { for f; do echo ${f#*/} $(cat $f); done; }
show memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes memory/memory.soft_limit_in_bytes
show memory/memory.swappiness
grep oom_kill_disable memory/memory.oom_control
show cpu/cpu.shares cpu/cpu.cfs_period_us cpu/cpu.cfs_quota_us cpuset/cpuset.cpus cpuset/cpuset.mems pids/pids.max
ulimit -Sn; ulimit -Hn; cat /proc/sys/kernel/msgmax; grep -o size=2048k /proc/mounts
cut -d: -f3 /proc/self/cgroup | grep /flags | cut -d/ -f2 | sort -u`
	got := d.ok(t, alone("--cgroup-parent", parent, "-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m",
		"--memory-swappiness", "7", "--oom-kill-disable", "--cpu-shares", "512", "--cpu-period", "50000",
		"--cpu-quota", "25000", "--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "77", "--ulimit", "nofile=100:200",
		"--sysctl", "kernel.msgmax=4096", "--shm-size", "2m", "busybox", "sh", "-c", script)...)
	want := `memory.limit_in_bytes 67108864
memory.memsw.limit_in_bytes 100663296
memory.soft_limit_in_bytes 33554432
memory.swappiness 7
oom_kill_disable 1
cpu.shares 512
cpu.cfs_period_us 50000
cpu.cfs_quota_us 25000
cpuset.cpus 0
cpuset.mems 0
pids.max 77
100
200
4096
size=2048k
` + strings.Trim(parent, "/")
	if got != want {
		t.Errorf("limits inside:\n%s\nwant:\n%s", got, want)
	}
	realtimeFlags(t, d, parent)
}

// ownGroup names a parent of control groups, which is removed after the test.
func ownGroup(t *testing.T) string {
	t.Helper()
	parent := fmt.Sprintf("/flags%d-%d", os.Getpid(), names.Add(1))
	t.Cleanup(func() {
		dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + parent) // the pattern is a good one
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	})
	return parent
}

// realtimeFlags gives a container a share of the time of real-time processes. Its parent needs such a share, which the
// kernel may refuse: the control group of this process may have none, or the kernel no such shares.
func realtimeFlags(t *testing.T, d docker, parent string) {
	args := alone("--cgroup-parent", parent, "--cpu-rt-period", "500000", "--cpu-rt-runtime", "2000", "busybox",
		"cat", "/sys/fs/cgroup/cpu/cpu.rt_period_us", "/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
	err := os.WriteFile("/sys/fs/cgroup/cpu"+parent+"/cpu.rt_runtime_us", []byte("10000"), 0o600)
	if err != nil {
		t.Logf("no time for real-time processes: %v", err)
		if r := d.run(t, args...); r.code != 125 || !strings.Contains(strings.ReplaceAll(r.stderr, "real-time", "rt_"), "rt_") {
			t.Errorf("real-time flags: %+v", r)
		}
		return
	}
	if got := d.ok(t, args...); got != "500000\n2000" {
		t.Errorf("real-time flags: %q", got)
	}
}

// initFlag runs a command below an init: the command, which is not the first process, ends at a signal that it does not
// handle, and its exit code is the container's.
func initFlag(t *testing.T, d docker) {
	name := d.detached(t, "--init", "busybox", "sleep", "1000")
	r := d.run(t, "exec", name, "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline; touch /sbin/docker-init")
	if r.stdout != "/sbin/docker-init -- sleep 1000 " || !strings.Contains(r.stderr, "Read-only file system") {
		t.Errorf("the first process: %+v", r)
	}
	if got := d.ok(t, "info", "--format", "{{.InitBinary}}"); got != "tini-static" {
		t.Errorf("info names the init %q", got)
	}
	d.ok(t, "stop", "-t", "60", name)
	if got := d.format(t, name, "{{.State.ExitCode}} {{.Path}} {{.HostConfig.Init}}"); got != "143 sleep true" {
		t.Errorf("with an init: %s", got)
	}
}

// deviceFlags gives a container a device, and the right to make and use another one.
func deviceFlags(t *testing.T, d docker) {
	const script = `exec 2>/dev/null
try() { "$@" && echo yes || echo no; }
read_it() { (: <$1); }; write_it() { (: >$1); }
try read_it /dev/mine; try write_it /dev/mine; try mknod /tmp/loop b 7 0; try read_it /tmp/loop; ls /dev/mine`
	options := []string{"--device", "/dev/fuse:/dev/mine:r"}
	image := []string{"busybox", "sh", "-c", script}
	if got := d.ok(t, alone(append(options, image...)...)...); got != "yes\nno\nyes\nno\n/dev/mine" {
		t.Errorf("a device to read: %q", got)
	}
	options = []string{"--device", "/dev/fuse:/dev/mine", "--device-cgroup-rule", "b 7:* r"}
	if got := d.ok(t, alone(append(options, image...)...)...); got != "yes\nyes\nyes\nyes\n/dev/mine" {
		t.Errorf("a device and a rule: %q", got)
	}
	got := d.ok(t, alone("--privileged", "--device", "/dev/fuse:/dev/mine:r", "busybox", "sh", "-c",
		"ls /dev/mine /dev/fuse; : >/dev/mine")...)
	if got != "/dev/fuse\n/dev/mine" {
		t.Errorf("privileged: %q", got)
	}
	// The command line takes the text for a missing program.
	d.fails(t, 127,
		`error gathering device information while adding custom device "/dev/no-such": no such file or directory`,
		alone("--device", "/dev/no-such", "busybox", "true")...)
}

// isolationFlags shares namespaces with the host, and gives up what confines a container.
func isolationFlags(t *testing.T, d docker) {
	got := d.ok(t, alone("--uts", "host", "--userns", "host", "--ipc", "host", "--pid", "host", "--cgroupns", "private",
		"--security-opt", "systempaths=unconfined", "--security-opt", "seccomp=unconfined",
		"--security-opt", "apparmor=unconfined", "--security-opt", "label=disable", "--volume-driver", "local", "--platform", "linux", "busybox", "sh", "-c",
		"for n in uts user ipc pid cgroup; do readlink /proc/self/ns/$n; done; "+
			"cut -d: -f3 /proc/self/cgroup | sort -u; grep Seccomp: /proc/self/status; wc -c </proc/keys | grep -c ^0; "+
			"test -w /proc/sys/kernel/domainname && echo writable")...)
	lines := strings.Split(got, "\n")
	if len(lines) < 5 {
		t.Fatalf("with the host's namespaces: %q", got)
	}
	for i, name := range []string{"uts", "user", "ipc", "pid"} {
		if want := readLink(t, "/proc/self/ns/"+name); lines[i] != want {
			t.Errorf("namespace %s: %s, want %s", name, lines[i], want)
		}
	}
	if lines[4] == readLink(t, "/proc/self/ns/cgroup") {
		t.Errorf("the namespace of control groups is the host's")
	}
	if rest := strings.Join(lines[5:], "\n"); rest != "/\nSeccomp:\t0\n0\nwritable" {
		t.Errorf("unconfined: %q", rest)
	}
	r := d.run(t, alone("--security-opt", "apparmor=mine", "--security-opt", "label=level:s0", "busybox", "true")...)
	if r.code != 0 || !strings.Contains(r.stderr, `the profile "mine" has no effect`) ||
		!strings.Contains(r.stderr, `the option "label=level:s0" has no effect`) {
		t.Errorf("security modules that this host lacks: %+v", r)
	}
}
