package tests

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// sleeper runs a container that sleeps, for execs.
func (d docker) sleeper(t testing.TB, options ...string) string {
	t.Helper()
	return d.detached(t, append(options, "busybox", "sleep", "1000")...)
}

func TestExec(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.sleeper(t, "-e", "OLD=1")
		for _, c := range []struct {
			want result
			args string
		}{
			{result{"out\n", "err\n", 0}, "NAME sh -c 'echo out; echo err >&2'"},
			{result{"", "", 42}, "NAME sh -c 'exit 42'"},
			{result{"1 2 /tmp 1234\n", "", 0}, "-e NEW=2 -w /tmp -u app NAME sh -c 'echo $OLD $NEW $(pwd) $(id -u)'"},
			{result{"", "", 137}, "NAME sh -c 'kill -KILL $$'"},
		} {
			if r := d.run(t, append([]string{"exec"}, shellWords(c.args, name)...)...); r != c.want {
				t.Errorf("docker exec %s: %+v, want %+v", c.args, r, c.want)
			}
		}
		for code, program := range map[int]string{127: "does-not-exist", 126: "/etc/not-executable"} {
			if r := d.run(t, "exec", name, program); r.code != code {
				t.Errorf("docker exec %s: %+v, want %d", program, r, code)
			}
		}
		if out := d.ok(t, "top", name); strings.Count(out, "\n") != 1 {
			t.Errorf("processes are left: %s", out)
		}
	})
}

// shellWords splits at spaces outside of quotes and inserts the container's name.
func shellWords(s, name string) []string {
	var words []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		for word := range strings.FieldsSeq(part) {
			words = append(words, strings.ReplaceAll(word, "NAME", name))
		}
	}
	return words
}

func TestExecPipe(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.sleeper(t)
		data := make([]byte, 5<<20)
		_, _ = rand.NewChaCha8([32]byte{2}).Read(data) // never fails
		r := d.feed(t, bytes.NewReader(data), "exec", "-i", name, "cat")
		if r.code != 0 || sha256.Sum256([]byte(r.stdout)) != sha256.Sum256(data) {
			t.Errorf("exit code %d, %d bytes of %d, stderr %q", r.code, len(r.stdout), len(data), r.stderr)
		}
		if r := d.feed(t, strings.NewReader("not for it\n"), "exec", name, "cat"); r != (result{"", "", 0}) {
			t.Errorf("docker exec without -i: %+v", r)
		}
	})
}

func TestExecDetached(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.sleeper(t)
		if r := d.run(t, "exec", "-d", name, "sh", "-c", "echo done >/result; exec sleep 1000"); r != (result{}) {
			t.Errorf("docker exec -d: %+v", r)
		}
		result := fmt.Sprintf("/proc/%d/root/result", d.inspect(t, name).State.Pid)
		await(t, "the exec's file", func() bool { data, _ := os.ReadFile(result); return string(data) == "done\n" })
		if out := d.ok(t, "top", name); strings.Count(out, "sleep 1000") != 2 {
			t.Errorf("docker top: %s", out)
		}
	})
}

func TestExecNeedsRunning(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "busybox", "true")
		d.ok(t, "wait", name)
		d.fails(t, 1, "is not running", "exec", name, "true")
		d.refused(t, 409, "is not running", "POST", "/containers/"+name+"/exec", `{"Cmd":["true"]}`)
		d.fails(t, 1, "No such", "exec", "nobody", "true")
		up := d.sleeper(t)
		d.fails(t, 1, "unable to find user nobody-there", "exec", "-u", "nobody-there", up, "true")
		d.refused(t, 400, "No exec command specified", "POST", "/containers/"+up+"/exec", `{}`)
		d.refused(t, 404, "No such exec instance", "POST", "/exec/nothing/start", `{}`)
	})
}

// TestExecInspect inspects an exec after its end, and starts it twice.
func TestExecInspect(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	name := d.sleeper(t)
	a := d.call("POST", "/containers/"+name+"/exec", `{"Cmd":["sh","-c","exit 6"],"AttachStdout":true}`)
	_, id, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(a.body), `"}`), `"Id":"`)
	if a.status != 201 || len(id) != 64 {
		t.Fatalf("create: %+v", a)
	}
	if a := d.call("POST", "/exec/"+id+"/start", `{"Detach":true}`); a.status != 200 {
		t.Fatalf("start: %+v", a)
	}
	await(t, "the exec's exit code", func() bool {
		return strings.Contains(d.call("GET", "/exec/"+id+"/json", "").body, `"ExitCode":6`)
	})
	d.refused(t, 409, "already run", "POST", "/exec/"+id+"/start", `{}`)
}
