package runtimed_test

import (
	"bufio"
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestCtr(t *testing.T) {
	d := startDaemon(t, "runc")
	d.run("c1", "exec sleep 1000", nil)
	for _, c := range []struct {
		args, want string
	}{
		{"task ls", "RUNNING"},
		{"task ps c1", "PID"},
		{"task metrics c1", "memory"},
		{"containers ls", "c1"},
		{"task kill -s SIGKILL c1", ""},
	} {
		args := append([]string{"-a", d.address, "-n", testNamespace}, strings.Fields(c.args)...)
		out, err := exec.CommandContext(t.Context(), "ctr", args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("ctr %s: %v\n%s", c.args, err, out)
		}
	}
	equal(t, "exit status", d.wait("c1", ""), 137)
}

// ctr prints the events of a container that runs while it listens.
func TestCtrEvents(t *testing.T) {
	d := startDaemon(t, "runc")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctr := exec.CommandContext(ctx, "ctr", "-a", d.address, "-n", testNamespace, "events")
	out, err := ctr.StdoutPipe()
	check(t, err)
	check(t, ctr.Start())
	defer ctr.Wait() // after cancel: it was killed
	defer cancel()
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	next := func() string {
		select {
		case line := <-lines:
			return line
		case <-time.After(50 * time.Millisecond):
			return ""
		}
	}
	for n, heard := 0, false; !heard; n++ { // ctr doesn't say when it listens
		check(t, ctx.Err())
		d.record("early"+strconv.Itoa(n), d.spec("early", "exit 0"))
		heard = next() != ""
	}
	d.run("c", "exit 7", nil)
	equal(t, "exit status", d.wait("c", ""), 7)
	d.delete("c")
	var topics []string
	for line := range lines {
		if fields := strings.Fields(line); strings.Contains(line, "/tasks/") && strings.Contains(line, `"container_id":"c"`) {
			topics = append(topics, fields[slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "/tasks/") })])
		}
		if strings.Contains(line, "/tasks/delete") {
			break
		}
	}
	equal(t, "topics", strings.Join(topics, " "), "/tasks/create /tasks/start /tasks/exit /tasks/delete")
}
