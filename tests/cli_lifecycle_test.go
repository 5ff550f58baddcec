package tests

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readLink(t testing.TB, path string) string {
	t.Helper()
	target, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestVersionAndInfo(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		if out := d.ok(t, "version", "--format", "{{.Server.Os}} {{(index .Server.Components 0).Name}}"); out != "linux Engine" {
			t.Errorf("docker version: %q", out)
		}
		if out := d.ok(t, "version"); !strings.Contains(out, "engine-lite") {
			t.Errorf("docker version: %s", out)
		}
		id := d.detached(t, "busybox", "true")
		runtime := d.ok(t, "info", "--format", "{{.DefaultRuntime}} {{(index .Runtimes .DefaultRuntime).Path}}")
		if got := d.format(t, id, "{{.HostConfig.Runtime}}"); !regexp.MustCompile("^(runc|crun) [^ ]+$").MatchString(runtime) ||
			!strings.HasPrefix(runtime, got+" ") {
			t.Errorf("default runtime: %q in info, %q in inspect", runtime, got)
		}
		if out := d.ok(t, "info"); !strings.Contains(out, "Server Version: ") || !strings.Contains(out, d.root()) {
			t.Errorf("docker info: %s", out)
		}
		if out := d.ok(t, "info", "--format", "{{.Driver}} {{.OSType}}"); out != "overlayfs linux" && out != "native linux" {
			t.Errorf("docker info: %q", out)
		}
	})
}

func TestCreateAndStart(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.name(t)
		id := d.ok(t, "create", "--network", "none", "--name", name, "busybox", "sh", "-c", "echo again; exit 9")
		if !regexp.MustCompile("^[0-9a-f]{64}$").MatchString(id) {
			t.Errorf("docker create: %q", id)
		}
		if got := d.format(t, id, "{{.State.Status}} {{.State.Pid}}"); got != "created 0" {
			t.Errorf("created: %s", got)
		}
		for range 2 { // a container that ended starts again
			if r := d.run(t, "start", "-a", name); r != (result{"again\n", "", 9}) {
				t.Errorf("docker start -a: %+v", r)
			}
		}
		if out := d.ok(t, "start", id[:12]); out != id[:12] {
			t.Errorf("docker start: %q", out)
		}
	})
}

func TestPs(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		label := "ps=" + d.name(t)
		up := d.detached(t, "--label", label, "busybox", "sleep", "1000")
		down := d.detached(t, "--label", label, "--label", "x", "busybox", "sh", "-c", "exit 5")
		d.ok(t, "wait", down)
		fresh := d.name(t)
		d.ok(t, "create", "--network", "none", "--name", fresh, "--label", label, "busybox")
		for _, c := range []struct {
			args string
			want []string
		}{
			{"", []string{up}},
			{"-a", []string{fresh, down, up}},
			{"-n 1000", []string{fresh, down, up}},
			{"-a --filter status=exited", []string{down}},
			{"-a --filter status=created", []string{fresh}},
			{"-a --filter status=exited --filter status=running", []string{down, up}},
			{"-a --filter exited=5", []string{down}},
			{"-a --filter exited=6", nil},
			{"-a --filter label=x", []string{down}},
			{"-a --filter name=" + up, []string{up}},
			{"-a --filter before=" + down, []string{up}},
			{"-a --filter since=" + down, []string{fresh}},
			{"-a --filter ancestor=busybox", []string{fresh, down, up}},
			{"-a --filter ancestor=nothing", nil},
		} {
			args := append([]string{"ps", "--format", "{{.Names}}", "--filter", "label=" + label}, strings.Fields(c.args)...)
			if got := strings.Fields(d.ok(t, args...)); !slices.Equal(got, c.want) {
				t.Errorf("docker ps %s: %q, want %q", c.args, got, c.want)
			}
		}
		out := d.ok(t, "ps", "-a", "--filter", "label="+label)
		for _, want := range []string{"Up ", "Exited (5) ", "Created", `"sleep 1000"`, "busybox"} {
			if !strings.Contains(out, want) {
				t.Errorf("docker ps -a does not show %q:\n%s", want, out)
			}
		}
		d.fails(t, 1, "nonsense", "ps", "--filter", "nonsense=1")
	})
}

// TestWait waits for the exit before and after it, and for the removal.
func TestWait(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "-i", "busybox", "sh", "-c", "read line; exit 4")
		b := d.background(t, nil, "wait", name)
		if r := d.feed(t, strings.NewReader("go\n"), "attach", name); r.code != 4 {
			t.Errorf("docker attach: %+v", r)
		}
		if r := b.wait(t); r != (result{"4\n", "", 0}) {
			t.Errorf("docker wait, before the exit: %+v", r)
		}
		if out := d.ok(t, "wait", name); out != "4" {
			t.Errorf("docker wait, after the exit: %s", out)
		}
		d.ok(t, "rm", name)
		d.fails(t, 1, "No such container: "+name, "wait", name)
	})
}

// TestWaitRemoved waits for a removal that comes with the exit.
func TestWaitRemoved(t *testing.T) {
	r := sharedRig(t)
	t.Parallel()
	d := oneDocker(t, r)
	name := d.name(t)
	d.ok(t, "run", "-d", "--rm", "--network", "none", "--name", name, "busybox", "sleep", "1000")
	answer := make(chan reply, 1)
	begun := make(chan struct{})
	go func() { // ends with the answer
		close(begun)
		answer <- d.call("POST", "/containers/"+name+"/wait?condition=removed", "")
	}()
	<-begun
	d.ok(t, "kill", name)
	if a := <-answer; a.err == nil && a.status == 404 {
		t.Log("the container was gone first") // a legal race
	} else if a.err != nil || a.status != 200 || !strings.Contains(a.body, `"StatusCode":137`) {
		t.Errorf("wait: %+v", a)
	}
	if a := d.call("GET", "/containers/"+name+"/json", ""); a.status != 404 {
		t.Errorf("after the removal: %+v", a)
	}
}

func TestKillSignal(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "busybox", "sh", "-c", `trap "echo got usr1" USR1; trap "exit 21" INT; echo up; while :; do sleep 1000 & wait; done`)
		b := d.background(t, nil, "logs", "-f", name)
		b.await(t, "up\n")
		d.ok(t, "kill", "-s", "USR1", name)
		b.await(t, "got usr1\n")
		d.ok(t, "kill", "--signal", "2", name)
		if out := d.ok(t, "wait", name); out != "21" {
			t.Errorf("docker wait: %s", out)
		}
		d.fails(t, 1, "is not running", "kill", name)
		d.fails(t, 1, "invalid signal", "kill", "-s", "NONSENSE", name)
	})
}

// TestStop lets a process that follows SIGTERM end by itself, and kills one that
// ignores it after its time.
func TestStop(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		polite := d.detached(t, "busybox", "sh", "-c", `trap "echo bye; exit 0" TERM; echo up; while :; do sleep 1000 & wait; done`)
		deaf := d.detached(t, "busybox", "sh", "-c", `trap "" TERM; echo up; while :; do sleep 1000 & wait; done`)
		for _, name := range []string{polite, deaf} {
			d.background(t, nil, "logs", "-f", name).await(t, "up\n")
		}
		d.ok(t, "stop", "-t", "60", polite)
		if out := d.ok(t, "logs", polite); out != "up\nbye" {
			t.Errorf("the polite one said %q", out)
		}
		if got := d.format(t, polite, "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 0" {
			t.Errorf("the polite one: %s", got)
		}
		d.ok(t, "stop", "-t", "1", deaf)
		if got := d.format(t, deaf, "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 137" {
			t.Errorf("the deaf one: %s", got)
		}
		d.ok(t, "stop", deaf) // which does no harm
	})
}

func TestStopSignal(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "--stop-signal", "QUIT", "busybox", "sh", "-c", `trap "exit 33" QUIT; echo up; while :; do sleep 1000 & wait; done`)
		d.background(t, nil, "logs", "-f", name).await(t, "up\n")
		d.ok(t, "stop", name)
		if got := d.format(t, name, "{{.State.ExitCode}}"); got != "33" {
			t.Errorf("exit code %s", got)
		}
	})
}

// TestPause looks at the freezer's work from outside: a frozen process uses no
// time and answers nothing.
func TestPause(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "busybox", "sh", "-c", "while :; do date +%s%N >/now; done")
		now := fmt.Sprintf("/proc/%d/root/now", d.inspect(t, name).State.Pid)
		await(t, "the clock in the container runs", func() bool { data, _ := os.ReadFile(now); return len(data) > 0 })
		d.ok(t, "pause", name)
		if got := d.format(t, name, "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"); got != "paused true true" {
			t.Errorf("paused: %s", got)
		}
		frozen, _ := os.ReadFile(now)
		if out := d.ok(t, "ps", "--filter", "name="+name); !strings.Contains(out, "(Paused)") {
			t.Errorf("docker ps: %s", out)
		}
		if again, _ := os.ReadFile(now); string(again) != string(frozen) {
			t.Errorf("the clock of a paused container runs: %q, %q", frozen, again)
		}
		d.fails(t, 1, "is paused", "exec", name, "true")
		d.fails(t, 1, "is already paused", "pause", name)
		d.ok(t, "unpause", name)
		await(t, "the clock runs again", func() bool { data, _ := os.ReadFile(now); return len(data) > 0 && string(data) != string(frozen) })
		d.fails(t, 1, "is not paused", "unpause", name)
		d.ok(t, "pause", name)
		d.ok(t, "kill", name)
		if got := d.format(t, name, "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 137" {
			t.Errorf("killed while paused: %s", got)
		}
	})
}

func TestRename(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		old, other, taken := d.detached(t, "busybox", "sleep", "1000"), d.name(t), d.detached(t, "busybox", "true")
		d.ok(t, "rename", old, other)
		d.fails(t, 1, "No such", "inspect", old)
		if got := d.format(t, other, "{{.Name}}"); got != "/"+other {
			t.Errorf("name %s", got)
		}
		d.fails(t, 1, "already in use", "rename", other, taken)
		d.detached(t, "--hostname", old, "busybox", "true") // another one may have it
	})
}

func TestTop(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "busybox", "sh", "-c", "sleep 1001 & echo up; sleep 1002")
		d.background(t, nil, "logs", "-f", name).await(t, "up\n")
		await(t, "docker top shows all", func() bool {
			out := d.ok(t, "top", name)
			return strings.Contains(out, "PID") && strings.Contains(out, "sleep 1001") && strings.Contains(out, "sleep 1002")
		})
		out := d.ok(t, "top", name, "-o", "pid,args")
		if lines := strings.Split(out, "\n"); !strings.HasPrefix(strings.TrimSpace(lines[0]), "PID") || len(lines) != 3 {
			t.Errorf("docker top -o: %q", out)
		}
		d.ok(t, "kill", name)
		d.fails(t, 1, "is not running", "top", name)
	})
}

func TestInspect(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "-e", "A=1", "-w", "/tmp", "-u", "app", "--hostname", "box", "--entrypoint", "sleep", "busybox", "1000")
		c := d.inspect(t, name)
		if c.Name != "/"+name || c.Path != "sleep" || !slices.Equal(c.Args, []string{"1000"}) {
			t.Errorf("%q %q %q", c.Name, c.Path, c.Args)
		}
		s := c.State
		if s.Status != "running" || !s.Running || s.Paused || s.Restarting || s.Dead || s.OOMKilled || s.Pid == 0 || s.ExitCode != 0 || s.StartedAt.IsZero() {
			t.Errorf("state: %+v", s)
		}
		// A start has ended when the OCI runtime's process is about to execute the command.
		await(t, "the process is the command", func() bool {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.Pid))
			return string(line) == "sleep\x001000\x00"
		})
		g := c.Config
		if g.User != "app" || g.WorkingDir != "/tmp" || g.Hostname != "box" || g.Image != "busybox" || g.Tty ||
			!slices.Contains(g.Env, "A=1") || !slices.Contains(g.Env, "PATH=/bin") || !slices.Equal(g.Entrypoint, []string{"sleep"}) {
			t.Errorf("config: %+v", g)
		}
		if c.HostConfig.NetworkMode != "none" {
			t.Errorf("network %s", c.HostConfig.NetworkMode)
		}
		d.ok(t, "kill", name)
		s = d.inspect(t, name).State
		if s.Status != "exited" || s.Running || s.Pid != 0 || s.ExitCode != 137 || s.FinishedAt.Before(s.StartedAt) {
			t.Errorf("state after the end: %+v", s)
		}
	})
}

func TestRemove(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "busybox", "sleep", "1000")
		c := d.inspect(t, name)
		if r := d.run(t, "rm", name); r.code != 1 || !strings.Contains(r.stderr, "running") {
			t.Errorf("docker rm of a running one: %+v", r)
		}
		d.ok(t, "rm", "-f", name)
		if alive(c.State.Pid) {
			t.Errorf("process %d lives", c.State.Pid)
		}
		if left := append(named(d.dir, []string{c.ID}), cgroupsOf([]string{c.ID})...); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		d.fails(t, 1, "No such container: "+name, "rm", name)
	})
}
