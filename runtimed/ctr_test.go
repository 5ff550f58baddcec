package runtimed_test

import (
	"bufio"
	"context"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ctr runs Debian's ctr and returns its output and exit code.
func (d *daemon) ctr(args ...string) (string, int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ctr", append([]string{"-a", d.address, "-n", testNamespace}, args...)...)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		d.t.Fatalf("ctr %q: %v\n%s", args, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// hasFields is true if a line of a table has these fields.
func hasFields(table string, fields ...string) bool {
	for line := range strings.Lines(table) {
		if got := strings.Fields(line); len(got) >= len(fields) && slices.Equal(got[:len(fields)], fields) {
			return true
		}
	}
	return false
}

func TestCtr(t *testing.T) {
	d := startDaemon(t, "runc")
	pid := strconv.Itoa(int(d.run("c1", "exec sleep 1000", nil)))
	d.addExec("c1", "e", "exec sleep 1000", nil, false)
	execPid := strconv.Itoa(int(d.start("c1", "e")))
	for _, c := range []struct {
		args []string
		code int
		want []string // the first fields of a line; nil for any output
	}{
		{strings.Fields("version"), 0, []string{"Version:"}},
		{strings.Fields("namespaces ls"), 0, []string{testNamespace}},
		{strings.Fields("containers ls"), 0, []string{"c1"}},
		{strings.Fields("containers info c1"), 0, []string{`"ID":`, `"c1",`}},
		{strings.Fields("task ls"), 0, []string{"c1", pid, "RUNNING"}},
		{strings.Fields("task ps c1"), 0, []string{pid}},
		{strings.Fields("task ps c1"), 0, []string{execPid}},
		{strings.Fields("task metrics c1"), 0, []string{"ID", "TIMESTAMP"}},
		{strings.Fields("task metrics c1"), 0, []string{"c1"}},
		{strings.Fields("task metrics c1"), 0, []string{"pids.current", "2"}},
		{strings.Fields("task pause c1"), 0, nil},
		{strings.Fields("task ls"), 0, []string{"c1", pid, "PAUSED"}},
		{strings.Fields("task resume c1"), 0, nil},
		{[]string{"task", "exec", "--fifo-dir", d.dir + "/fifos", "--exec-id", "x", "c1", "/bin/sh", "-c",
			"pwd; exit 4"}, 4, []string{"/"}},
		{strings.Fields("task rm c1"), 1, nil},
		{strings.Fields("containers rm c1"), 1, nil},
		{strings.Fields("task kill --exec-id e -s SIGTERM c1"), 0, nil},
		{strings.Fields("task kill -s SIGKILL c1"), 0, nil},
		{strings.Fields("task kill nobody"), 1, nil},
	} {
		out, code := d.ctr(c.args...)
		if code != c.code || c.want != nil && !hasFields(out, c.want...) {
			t.Errorf("ctr %q: exit code %d\n%s", c.args, code, out)
		}
	}
	equal(t, "exit status of the exec", d.wait("c1", "e"), 128+15)
	equal(t, "exit status", d.wait("c1", ""), 137)
	out, _ := d.ctr("task", "ls")
	if !hasFields(out, "c1", pid, "STOPPED") {
		t.Errorf("ctr task ls:\n%s", out)
	}
	if out, code := d.ctr("task", "rm", "c1"); code != 0 || !strings.Contains(out, "exit code 137") {
		t.Errorf("ctr task rm: exit code %d\n%s", code, out)
	}
	if out, code := d.ctr("containers", "rm", "c1"); code != 0 {
		t.Errorf("ctr containers rm: exit code %d\n%s", code, out)
	}
}

// ctr prints the events of a container that runs while ctr listens.
func TestCtrEvents(t *testing.T) {
	d := startDaemon(t, "runc")
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	ctr := exec.CommandContext(ctx, "ctr", "-a", d.address, "-n", testNamespace, "events")
	out, err := ctr.StdoutPipe()
	check(t, err)
	check(t, ctr.Start())
	defer ctr.Wait() // after cancel; ctr was killed
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
	for n, heard := 0, false; !heard; n++ { // ctr does not show when it listens
		check(t, ctx.Err())
		d.record("early"+strconv.Itoa(n), d.spec("early", "exit 0"))
		heard = next() != ""
	}
	d.run("c", "exit 7", nil)
	equal(t, "exit status", d.wait("c", ""), 7)
	d.delete("c")
	var topics []string
	for line := range lines {
		if fields := strings.Fields(line); strings.Contains(line, "/tasks/") &&
			strings.Contains(line, `"container_id":"c"`) {
			topics = append(topics,
				fields[slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "/tasks/") })])
		}
		if strings.Contains(line, "/tasks/delete") {
			break
		}
	}
	equal(t, "topics", strings.Join(topics, " "), "/tasks/create /tasks/start /tasks/exit /tasks/delete")
}
