package tests

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// namespaceOf is a namespace of a process on the host.
func namespaceOf(t testing.TB, pid int, kind string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// ending is a script that ends with an exit code after SIGTERM, and reaps what others leave to it.
func ending(code int) string {
	return fmt.Sprintf("trap 'exit %d' TERM; echo up; while :; do sleep 1 & wait $!; done", code)
}

// TestSharedPIDNamespace checks that what is asked of a container in the PID namespace of another one concerns its own
// processes only.
func TestSharedPIDNamespace(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		donor := d.detached(t, "busybox", "sh", "-c", ending(4))
		joins := d.detached(t, "--pid", "container:"+donor, "--health-cmd", "kill -0 1", "--health-interval", "1s", "busybox",
			"sh", "-c", "trap '' TERM; sleep 7001 & wait; wait")
		in, of := d.inspect(t, joins).State.Pid, d.inspect(t, donor).State.Pid
		if namespaceOf(t, in, "pid") != namespaceOf(t, of, "pid") || namespaceOf(t, in, "ipc") == namespaceOf(t, of, "ipc") {
			t.Error("the namespaces are not those that were asked for")
		}
		if out := d.ok(t, "exec", joins, "ps"); !strings.Contains(out, "echo up") || !strings.Contains(out, "sleep 7001") {
			t.Errorf("the processes in the namespace: %s", out)
		}
		if out := d.ok(t, "top", joins); strings.Contains(out, "echo up") || !strings.Contains(out, "sleep 7001") {
			t.Errorf("docker top: %s", out)
		}
		await(t, "the container is healthy", func() bool {
			return d.format(t, joins, "{{.State.Health.Status}}") == "healthy"
		})
		d.ok(t, "pause", joins)
		d.ok(t, "exec", donor, "true")
		d.ok(t, "unpause", joins)
		d.ok(t, "stop", "-t", "0", joins)
		if c := d.inspect(t, joins); c.State.ExitCode != 137 {
			t.Errorf("after a stop: %+v", c.State)
		}
		left := d.detached(t, "--pid", "container:"+donor, "busybox", "sh", "-c", "sleep 7002 & exit 3")
		if out := d.ok(t, "wait", left); out != "3" {
			t.Errorf("docker wait: %s", out)
		}
		if out := d.ok(t, "exec", donor, "ps"); strings.Contains(out, "sleep 700") {
			t.Errorf("processes are left: %s", out)
		}
		d.ok(t, "rename", donor, donor+"x")
		d.ok(t, "start", joins)
		d.ok(t, "pause", joins)
		stop := d.background(t, nil, "stop", donor+"x") // where a frozen process handles no SIGKILL it waits for the thaw
		await(t, "the donor has its signal", func() bool {
			return strings.Contains(d.ok(t, "events", "--since", "1h", "--until", "0s", "-f", "container="+donor+"x",
				"--format", "{{.Action}}"), "kill")
		})
		d.run(t, "unpause", joins) // it has ended where the signal is handled at once
		if end := stop.wait(t); end.code != 0 {
			t.Errorf("docker stop: %+v", end)
		}
		if out := d.ok(t, "wait", donor+"x", joins); out != "4\n137" {
			t.Errorf("docker wait: %s", out)
		}
		d.fails(t, 1, "failed to join PID namespace", "start", joins)
		d.ok(t, "rename", donor+"x", donor)
	})
}

// TestSharedPIDNamespaceRecovery kills the engine while containers share a PID namespace. The exit of the first process
// ends all of them, while an engine runs or not, and no exit is lost.
func TestSharedPIDNamespaceRecovery(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	for _, away := range []bool{false, true} {
		d.ok(t, "run", "-d", "--network", "none", "--name", "donor", "busybox", "sleep", "1000")
		for _, name := range []string{"one", "two"} {
			d.ok(t, "run", "-d", "--network", "none", "--pid", "container:donor", "--name", name, "busybox", "sleep", "1000")
		}
		d.ok(t, "run", "-d", "--network", "none", "--pid", "container:one", "--name", "three", "busybox", "sleep", "1000")
		r.kill(t, r.enginePid())
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		donor := d.inspect(t, "donor")
		for _, name := range []string{"one", "two", "three"} {
			c := d.inspect(t, name)
			if !c.State.Running || namespaceOf(t, c.State.Pid, "pid") != namespaceOf(t, donor.State.Pid, "pid") {
				t.Errorf("%s: %s after a kill of the engine: %+v", name, c.Name, c.State)
			}
		}
		if away {
			r.kill(t, r.enginePid())
		}
		r.kill(t, donor.State.Pid)
		if away {
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
		}
		if out := d.ok(t, "wait", "donor", "one", "two", "three"); out != "137\n137\n137\n137" {
			t.Errorf("the engine was away: %t; docker wait: %s", away, out)
		}
		d.ok(t, "rm", "donor", "one", "two", "three")
	}
}

// TestSharedIPCNamespace shares IPC namespaces and shared memory. The memory stays with those that share it when the
// container ends which it came from, and no mount stays when all have ended.
func TestSharedIPCNamespace(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		donor := d.detached(t, "--ipc", "shareable", "--shm-size", "1m", "busybox", "sh", "-c", ending(4))
		joins := d.detached(t, "--ipc", "container:"+donor, "busybox", "sh", "-c", ending(5))
		in, of := d.inspect(t, joins).State.Pid, d.inspect(t, donor).State.Pid
		if namespaceOf(t, in, "ipc") != namespaceOf(t, of, "ipc") || namespaceOf(t, in, "pid") == namespaceOf(t, of, "pid") {
			t.Error("the namespaces are not those that were asked for")
		}
		d.ok(t, "exec", donor, "sh", "-c", "echo one >/dev/shm/file")
		if out := d.ok(t, "exec", joins, "sh", "-c", "cat /dev/shm/file; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d ' ' -f 2"); out != "one\n1024" {
			t.Errorf("the memory that is shared: %s", out)
		}
		d.ok(t, "stop", donor)
		if out := d.ok(t, "wait", donor); out != "4" {
			t.Errorf("docker wait: %s", out)
		}
		third := d.detached(t, "--ipc", "container:"+joins, "busybox", "sh", "-c", "cat /dev/shm/file; exit 6")
		if out := d.ok(t, "wait", third) + " " + d.ok(t, "logs", third); out != "6 one" {
			t.Errorf("a third container: %s", out)
		}
		d.ok(t, "start", donor)
		if out := d.ok(t, "exec", donor, "ls", "/dev/shm"); out != "" {
			t.Errorf("the next run has files of the last: %s", out)
		}
		private := d.detached(t, "--ipc", "private", "busybox", "sleep", "1000")
		refused := d.name(t)
		d.ok(t, "create", "--network", "none", "--name", refused, "--ipc", "container:"+private, "busybox", "true")
		d.fails(t, 1, "non-shareable IPC", "start", refused)
		d.ok(t, "stop", donor, joins)
		for _, name := range []string{donor, joins, third, refused} {
			id := d.inspect(t, name).ID
			await(t, "the mounts of "+name+" are gone", func() bool { return d.mountsOf(t, id) == 0 })
		}
	})
}

// mountsOf counts the mounts that a container's directory has on the host, its root filesystem aside.
func (r *rig) mountsOf(t testing.TB, id string) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(data), "/containers/"+id+"/")
}

// TestSharedIPCNamespaceRecovery kills the engine while containers share an IPC namespace. Their exits are known, and
// the next engine takes the mounts away of those that have ended, and of a start that the last engine did not finish.
func TestSharedIPCNamespaceRecovery(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	d := oneDocker(t, r)
	run := func(name, mode string, args ...string) string {
		return d.ok(t, append([]string{"run", "-d", "--network", "none", "--name", name, "--ipc", mode, "busybox"}, args...)...)
	}
	donor := run("donor", "shareable", "sh", "-c", "echo one >/dev/shm/file; until [ -e /dev/shm/go ]; do sleep 0.1; done; exit 4")
	one := run("one", "container:donor", "sh", "-c", "until [ -e /dev/shm/go ]; do sleep 0.1; done; exit 5")
	two := run("two", "container:one", "sleep", "1000")
	unfinished := d.ok(t, "create", "--network", "none", "--name", "unfinished", "--ipc", "shareable", "busybox", "true")
	r.kill(t, r.enginePid())
	at := r.file("root/containers/" + unfinished + "/shm")
	if err := errors.Join(os.MkdirAll(at, 0o700), syscall.Mount("shm", at, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file("root/containers/"+two+"/shm/go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	if out := d.ok(t, "wait", "donor", "one"); out != "4\n5" {
		t.Errorf("docker wait: %s", out)
	}
	for _, id := range []string{donor, one, unfinished} {
		await(t, "the mounts are gone", func() bool { return r.mountsOf(t, id) == 0 })
	}
	if out := d.ok(t, "exec", "two", "cat", "/dev/shm/file"); out != "one" {
		t.Errorf("the memory that is shared: %s", out)
	}
	d.ok(t, "rm", "donor", "one") // the directories go, the memory stays
	d.ok(t, "exec", "two", "cat", "/dev/shm/file")
	d.ok(t, "rm", "-f", "two")
	if n := r.mountsOf(t, two); n != 0 {
		t.Errorf("%d mounts after a removal", n)
	}
}
