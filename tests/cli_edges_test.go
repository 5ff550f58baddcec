package tests

import (
	"strings"
	"testing"
)

// TestFlagsAtTheEdge has values of flags that are small, or empty.
func TestFlagsAtTheEdge(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	if out := d.ok(t, alone("--shm-size", "1b", "busybox", "grep", "/dev/shm", "/proc/mounts")...); !strings.Contains(out, "size=4k") {
		t.Errorf("--shm-size 1b: %s", out)
	}
	out := d.ok(t, alone("--hostname", "h", "--domainname", "d.e", "busybox", "cat", "/etc/hosts")...)
	if !strings.Contains(out, "127.0.1.1\th.d.e h") {
		t.Errorf("--domainname: %s", out)
	}
	name := d.detached(t, "-e", "FOO=1", "busybox", "sleep", "1000")
	if out := d.ok(t, "exec", "-e", "FOO", "-e", "NONE", name, "env"); strings.Contains(out, "FOO") || !strings.Contains(out, "PATH=") {
		t.Errorf("exec -e NAME: %s", out)
	}
	made := d.name(t) // it does not run: crun 1.8 can't write -1
	d.ok(t, "create", "--network", "none", "--name", made, "busybox", "true")
	d.ok(t, "update", "--cpu-quota", "-1", made)
	d.ok(t, "update", "--cpus", "1", made)
	if out := d.ok(t, "start", "-a", made); out != "" {
		t.Errorf("start: %s", out)
	}
}
