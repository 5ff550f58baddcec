package tests

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// alone are the arguments to run a container that is removed after its end.
func alone(args ...string) []string {
	return append([]string{"run", "--rm", "--network", "none"}, args...)
}

func TestRunAttached(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		r := d.run(t, alone("busybox", "sh", "-c", "echo out; echo err >&2")...)
		if r != (result{"out\n", "err\n", 0}) {
			t.Errorf("%+v", r)
		}
	})
}

func TestRunDetached(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.name(t)
		id := d.ok(t, "run", "-d", "--network", "none", "--name", name, "busybox", "sh", "-c",
			"echo out; echo err >&2; exit 3")
		if code := d.ok(t, "wait", id); code != "3" {
			t.Errorf("docker wait: %q", code)
		}
		if r := d.run(t, "logs", name); r != (result{"out\n", "err\n", 0}) {
			t.Errorf("docker logs: %+v", r)
		}
		if got := d.format(t, name, "{{.Id}} {{.State.Status}} {{.State.ExitCode}}"); got != id+" exited 3" {
			t.Errorf("docker inspect: %s", got)
		}
	})
}

// TestRunPipe sends 5 MiB through cat.
func TestRunPipe(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		data := make([]byte, 5<<20)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
		r := d.feed(t, bytes.NewReader(data), alone("-i", "busybox", "cat")...)
		if r.code != 0 || r.stderr != "" || sha256.Sum256([]byte(r.stdout)) != sha256.Sum256(data) {
			t.Errorf("exit code %d, %d bytes of %d, stderr %q", r.code, len(r.stdout), len(data), r.stderr)
		}
		r = d.feed(t, strings.NewReader("one\ntwo\n"), alone("-i", "busybox", "wc", "-l")...)
		if r != (result{"2\n", "", 0}) {
			t.Errorf("%+v", r)
		}
	})
}

// TestRunWithoutStdin checks that a container without -i reads end of file at once.
func TestRunWithoutStdin(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		r := d.feed(t, strings.NewReader("not for it\n"), alone("busybox", "cat")...)
		if r != (result{"", "", 0}) {
			t.Errorf("%+v", r)
		}
	})
}

func TestRunRemoves(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.name(t)
		d.ok(t, alone("--name", name, "busybox", "true")...)
		d.fails(t, 1, "No such object: "+name, "inspect", name)
		// The name is free again.
		d.ok(t, alone("--name", name, "busybox", "true")...)
	})
}

func TestRunExitCodes(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		for _, c := range []struct {
			code int
			why  string
			args []string
		}{
			{0, "", []string{"busybox", "true"}},
			{7, "", []string{"busybox", "sh", "-c", "exit 7"}},
			{255, "", []string{"busybox", "sh", "-c", "exit 255"}},
			{127, "executable file not found", []string{"busybox", "does-not-exist"}},
			{127, "o such file or directory", []string{"busybox", "/does/not/exist"}}, // runc's and crun's words
			{126, "permission denied", []string{"busybox", "/etc/not-executable"}},
			{126, "", []string{"busybox", "/etc"}},
			{125, "No such image", []string{"--pull", "never", "does-not-exist"}},
			{125, "engine-lite does not have", []string{"-p", "8080:80", "busybox", "true"}},
		} {
			d.fails(t, c.code, c.why, alone(c.args...)...)
		}
	})
}

// TestRunKilled ends a container from outside while its output is attached.
func TestRunKilled(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.name(t)
		b := d.background(t, nil, alone("--name", name, "busybox", "sh", "-c", "echo up; exec sleep 1000")...)
		b.await(t, "up\n")
		d.ok(t, "kill", name)
		if r := b.wait(t); r.code != 137 {
			t.Errorf("%+v", r)
		}
	})
}

// TestRunOptions checks the effect of the options inside of the container.
func TestRunOptions(t *testing.T) {
	const script = "id; pwd; echo $A,$B; hostname"
	eachDocker(t, func(t *testing.T, d docker) {
		for _, c := range []struct{ name, want, options string }{
			{"nothing", "uid=0(root) gid=0(root)\n/\n,\nbox\n", ""},
			{"environment", "uid=0(root) gid=0(root)\n/\n1,2\nbox\n", "-e A=1 -e B=2"},
			{"directory", "uid=0(root) gid=0(root)\n/home\n,\nbox\n", "-w /home"},
			{"new directory", "uid=0(root) gid=0(root)\n/made/for/it\n,\nbox\n", "-w /made/for/it"},
			{"user name", "uid=1234(app) gid=1235(app) groups=1235(app),4321(extra)\n/\n,\nbox\n", "-u app"},
			{"uid", "uid=1234(app) gid=1235(app) groups=1235(app),4321(extra)\n/\n,\nbox\n", "-u 1234"},
			{"unknown uid", "uid=77 gid=0(root)\n/\n,\nbox\n", "-u 77"},
			{"uid and gid", "uid=77 gid=78\n/\n,\nbox\n", "-u 77:78"},
			{"user and group name", "uid=0(root) gid=1235(app)\n/\n,\nbox\n", "-u root:app"},
		} {
			args := append([]string{"--hostname", "box"}, strings.Fields(c.options)...)
			r := d.run(t, alone(append(args, "busybox", "sh", "-c", script)...)...)
			got := strings.Replace(r.stdout, " groups=0(root)", "", 1)
			got = strings.Replace(got, " groups=78", "", 1)
			got = strings.Replace(got, " groups=1235(app)\n", "\n", 1)
			if r.code != 0 || got != c.want {
				t.Errorf("%s: %+v, want %q", c.name, r, c.want)
			}
		}
		d.fails(t, 125, "nobody-there", alone("-u", "nobody-there", "busybox", "true")...)
	})
}

func TestRunEntrypoint(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		if out := d.ok(t, alone("--entrypoint", "echo", "busybox", "a", "b")...); out != "a b" {
			t.Errorf("%q", out)
		}
		if out := d.ok(t, alone("--entrypoint", "", "busybox", "echo", "c")...); out != "c" {
			t.Errorf("%q", out)
		}
	})
}

func TestRunLabels(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "--label", "one=1", "--label", "two", "busybox", "true")
		if labels := d.inspect(t, name).Config.Labels; len(labels) != 2 || labels["one"] != "1" || labels["two"] != "" {
			t.Errorf("labels: %v", labels)
		}
	})
}

// TestRunNetworks checks the network interfaces: loopback only, except with the host's
// network.
func TestRunNetworks(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		const warning = "no bridged networks yet"
		for _, c := range []struct {
			options []string
			warns   bool
		}{
			{nil, true}, {[]string{"--network", "bridge"}, true}, {[]string{"--network", "none"}, false},
		} {
			args := append(append([]string{"run", "--rm"}, c.options...), "busybox", "sh", "-c",
				"ls /sys/class/net; cat /sys/class/net/lo/operstate; ip -o addr show lo")
			r := d.run(t, args...)
			if r.code != 0 || !strings.HasPrefix(r.stdout, "lo\n") || !strings.Contains(r.stdout, "127.0.0.1/8") ||
				strings.Contains(r.stdout, "eth") {
				t.Errorf("%v: %+v", c.options, r)
			}
			if strings.Contains(r.stderr, warning) != c.warns {
				t.Errorf("%v: stderr %q", c.options, r.stderr)
			}
		}
		r := d.run(t, "run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net")
		if want := readLink(t, "/proc/self/ns/net"); r != (result{want + "\n", "", 0}) {
			t.Errorf("host: %+v, want %s", r, want)
		}
		d.fails(t, 125, "other", "run", "--rm", "--network", "other", "busybox", "true")
	})
}

// TestRunManyLines checks that each of many lines comes once and in order.
func TestRunManyLines(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		out := d.ok(t, alone("busybox", "seq", "1", "50000")...)
		var want strings.Builder
		for i := range 50000 {
			fmt.Fprintln(&want, i+1)
		}
		if out+"\n" != want.String() {
			t.Errorf("%d bytes, want %d", len(out)+1, want.Len())
		}
	})
}
