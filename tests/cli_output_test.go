package tests

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestLogs(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "busybox", "sh", "-c",
			"for i in 1 2 3 4 5; do echo line $i; done; echo error >&2; printf unfinished")
		d.ok(t, "wait", name)
		all := "line 1\nline 2\nline 3\nline 4\nline 5\nunfinished"
		if r := d.run(t, "logs", name); r != (result{all, "error\n", 0}) {
			t.Errorf("docker logs: %+v", r)
		}
		if r := d.run(t, "logs", "-f", name); r != (result{all, "error\n", 0}) {
			t.Errorf("docker logs -f, after the end: %+v", r)
		}
		if r := d.run(t, "logs", "--tail", "0", name); r != (result{}) {
			t.Errorf("docker logs --tail 0: %+v", r)
		}
		if r := d.run(t, "logs", "--tail", "3", name); strings.Count(r.stdout+r.stderr, "\n") != 2 ||
			!strings.Contains(r.stdout, "unfinished") {
			t.Errorf("docker logs --tail 3: %+v", r)
		}
		stamped := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line \d$`)
		if out := d.ok(t, "logs", "-t", name); len(stamped.FindAllString(out, -1)) != 5 {
			t.Errorf("docker logs -t: %s", out)
		}
		d.fails(t, 1, "No such container", "logs", "nobody")
	})
}

// TestLogsSince reads the log from a time between two lines.
func TestLogsSince(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "-i", "busybox", "sh", "-c", "echo early; read line; echo late")
		b := d.background(t, nil, "logs", "-f", name)
		b.await(t, "early\n")
		now := time.Now()
		between := fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())
		if r := d.feed(t, strings.NewReader("go\n"), "attach", name); r.code != 0 {
			t.Errorf("docker attach: %+v", r)
		}
		if r := b.wait(t); r != (result{"early\nlate\n", "", 0}) {
			t.Errorf("docker logs -f, to the end: %+v", r)
		}
		if out := d.ok(t, "logs", "--since", between, name); out != "late" {
			t.Errorf("docker logs --since: %q", out)
		}
		if out := d.ok(t, "logs", "--until", between, name); out != "early" {
			t.Errorf("docker logs --until: %q", out)
		}
		if out := d.ok(t, "logs", "-f", "--tail", "1", name); out != "late" {
			t.Errorf("docker logs -f --tail 1: %q", out)
		}
	})
}

// TestLogsFollow follows a container's log from before its start to its end. Each line
// must come once.
func TestLogsFollow(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.name(t)
		d.ok(t, "create", "--network", "none", "--name", name, "busybox", "seq", "1", "20000")
		b := d.background(t, nil, "start", "-a", name)
		f := d.background(t, nil, "logs", "-f", name)
		if r := b.wait(t); !counts(r.stdout, 20000) || r.code != 0 {
			t.Errorf("docker start -a: exit code %d, %d lines", r.code, strings.Count(r.stdout, "\n"))
		}
		// A follower from before the start may end at once, as in Docker.
		if r := f.wait(t); r.stdout != "" && !counts(r.stdout, 20000) {
			t.Errorf("docker logs -f: %d lines", strings.Count(r.stdout, "\n"))
		}
		if out := d.ok(t, "logs", name); !counts(out+"\n", 20000) {
			t.Errorf("docker logs: %d lines", strings.Count(out, "\n"))
		}
	})
}

// counts is true if the lines are the numbers from 1 to n.
func counts(text string, n int) bool {
	i := 0
	for line := range strings.Lines(text) {
		if i++; line != strconv.Itoa(i)+"\n" {
			return false
		}
	}
	return i == n
}

// TestAttach attaches two clients. The second one gets the output from then on, and what
// the first one sends.
func TestAttach(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.detached(t, "-i", "busybox", "sh", "-c",
			`echo before; while read line && [ "$line" != end ]; do echo "got $line"; done; echo end; exit 5`)
		await(t, "its first word is said", func() bool { return d.ok(t, "logs", name) == "before" })
		in, feeder := pipe(t)
		first := d.background(t, in, "attach", name)
		second := d.background(t, nil, "attach", "--no-stdin", name)
		// Output is the only sign that a client is attached.
		say := 0
		await(t, "both clients are attached", func() bool {
			say++
			_, _ = fmt.Fprintln(feeder, "line", say)
			return strings.Contains(first.stdout.String(), "got line") &&
				strings.Contains(second.stdout.String(), "got line")
		})
		_, _ = fmt.Fprintln(feeder, "end")
		for _, b := range []*running{first, second} {
			if r := b.wait(t); r.code != 5 || !strings.HasSuffix(r.stdout, fmt.Sprintf("got line %d\nend\n", say)) ||
				strings.Contains(r.stdout, "before") {
				t.Errorf("%s: %+v", b.what, r)
			}
		}
		d.fails(t, 1, "stopped container", "attach", name)
	})
}

// pipe is a pipe whose ends are closed at the end of the test.
func pipe(t testing.TB) (io.Reader, io.WriteCloser) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
	return r, w
}

// TestReopenStdout opens /dev/stdout by its path, as another user.
func TestReopenStdout(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		r := d.run(t, alone("-u", "app", "busybox", "sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr")...)
		if r != (result{"out\n", "err\n", 0}) {
			t.Errorf("%+v", r)
		}
	})
}
