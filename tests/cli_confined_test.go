package tests

import (
	"strings"
	"testing"
)

// TestConfined checks from inside how a container is confined.
func TestConfined(t *testing.T) {
	const script = `
grep -E '^(CapEff|CapBnd|CapPrm|NoNewPrivs|Seccomp):' /proc/self/status
for f in kcore keys timer_list interrupts; do test ! -e /proc/$f || wc -c </proc/$f; done | sort -u
touch /proc/sys/kernel/hostname 2>/dev/null && echo x >/proc/sys/kernel/hostname && echo "wrote a sysctl"
ls -A /sys/firmware
touch /sys/x 2>/dev/null && echo "wrote to /sys"
unshare -m true 2>/dev/null && echo "unshared"
mount -t tmpfs none /tmp 2>/dev/null && echo "mounted"
mknod /tmp/disk b 8 0 2>/dev/null && cat /tmp/disk >/dev/null 2>&1 && echo "read a disk"
ls /dev/sda /dev/vda /dev/mem 2>/dev/null
echo end`
	// The 14 capabilities of Docker's default: capability.h has their numbers.
	const want = "CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n0\nend\n"
	eachDocker(t, func(t *testing.T, d docker) {
		if r := d.run(t, alone("busybox", "sh", "-c", script)...); r.stdout != want || r.code != 0 {
			t.Errorf("a container:\n%s%s\nwant:\n%s", r.stdout, r.stderr, want)
		}
		name := d.sleeper(t)
		if r := d.run(t, "exec", name, "sh", "-c", script); r.stdout != want || r.code != 0 {
			t.Errorf("an exec:\n%s%s\nwant:\n%s", r.stdout, r.stderr, want)
		}
		out := d.ok(t, alone("-u", "app", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "busybox", "sh",
			"-c", "grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status")...)
		if out != "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1" {
			t.Errorf("with less: %q", out)
		}
		const divide = "d=/sys/fs/cgroup/pids; test -d $d || d=/sys/fs/cgroup; mkdir $d/below && rmdir $d/below && echo divided"
		if r := d.run(t, alone("busybox", "sh", "-c", divide)...); r.code == 0 || r.stdout != "" {
			t.Errorf("its control group can be changed: %+v", r)
		}
		if r := d.run(t, alone("--privileged", "busybox", "sh", "-c", divide)...); r != (result{"divided\n", "", 0}) {
			t.Errorf("privileged, its control group can't be changed: %+v", r)
		}
		out = d.ok(t, alone("--read-only", "busybox", "sh", "-c", "touch /x; echo $?")...)
		if !strings.HasSuffix(out, "1") {
			t.Errorf("with a read-only root: %q", out)
		}
	})
}
