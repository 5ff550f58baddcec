package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// workload is 50 containers of one engine.
type workload struct {
	docker
	t                                                 testing.TB
	terminals, writers, short, withExec, stdinReaders []*testContainer
}

// testContainer is a container, or an exec in one.
type testContainer struct {
	id   string
	pid  int
	exec *testContainer // an exec in the container
	code int            // its exit code after signalGo
}

// do sends a request that must succeed, and decodes its answer.
func (r *rig) do(t testing.TB, method, path string, body, into any) {
	t.Helper()
	text := ""
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(data)
	}
	a := r.call(method, path, text)
	if a.err != nil || a.status >= 300 && a.status != http.StatusNotModified {
		t.Fatalf("%s %s: %d %s %v\nengine's log:\n%s", method, path, a.status, a.body, a.err, r.logs("engine.log"))
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, a.body)
	}
}

// runScript starts a container with a shell script.
func (r *rig) runScript(t testing.TB, script string, more map[string]any) *testContainer {
	t.Helper()
	config := map[string]any{"Image": "busybox", "Cmd": []string{"sh", "-c", script},
		"HostConfig": map[string]any{"NetworkMode": "none"}}
	for key, value := range more {
		config[key] = value
	}
	var made struct{ ID string }
	r.do(t, http.MethodPost, "/containers/create", config, &made)
	r.do(t, http.MethodPost, "/containers/"+made.ID+"/start", nil, nil)
	return &testContainer{id: made.ID, pid: r.state(t, made.ID).State.Pid}
}

func (r *rig) state(t testing.TB, id string) (c containerJSON) {
	t.Helper()
	r.do(t, http.MethodGet, "/containers/"+id+"/json", nil, &c)
	return c
}

// addExec runs a script in a container, in the background.
func (r *rig) addExec(t testing.TB, id, script string) *testContainer {
	t.Helper()
	var made struct{ ID string }
	r.do(t, http.MethodPost, "/containers/"+id+"/exec",
		map[string]any{"Cmd": []string{"sh", "-c", script}, "AttachStdout": true}, &made)
	r.do(t, http.MethodPost, "/exec/"+made.ID+"/start", map[string]any{"Detach": true}, nil)
	return &testContainer{id: made.ID}
}

// signalGo makes the file that the container's script waits for.
func (m *testContainer) signalGo(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/go", m.pid), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	untilGo  = "until [ -e /go ]; do sleep 1; done; "
	counting = "i=0; until [ -e /go ]; do n=$((i+40)); while [ $i != $n ]; do i=$((i+1)); echo $i; done; sleep 0.5; done; exit "
	replying = "stty -echo; while read x; do echo got $x; [ $x = end ] && exit 9; done"
)

func newWorkload(t *testing.T) *workload {
	c := &workload{docker: oneDocker(t, ownRig(t)), t: t}
	stdin := map[string]any{"OpenStdin": true, "StdinOnce": true}
	for range 6 {
		c.terminals = append(c.terminals, c.runScript(t, replying, map[string]any{"OpenStdin": true, "Tty": true}))
	}
	for i := range 12 {
		c.writers = append(c.writers, c.runScript(t, counting+strconv.Itoa(20+i), nil))
		c.writers[i].code = 20 + i
	}
	for i := range 14 {
		c.short = append(c.short, c.runScript(t, untilGo+fmt.Sprintf("echo last; exit %d", 40+i), nil))
		c.short[i].code = 40 + i
	}
	for i := range 8 {
		m := c.runScript(t, "exec sleep 1000", nil)
		m.exec = c.addExec(t, m.id, untilGo+fmt.Sprintf("exit %d", 60+i))
		m.exec.code = 60 + i
		c.addExec(t, m.id, fmt.Sprintf("exit %d", i))
		c.withExec = append(c.withExec, m)
	}
	for range 10 {
		c.stdinReaders = append(c.stdinReaders, c.runScript(t, "cat; exit 8", stdin))
	}
	return c
}

func (c *workload) all() []*testContainer {
	return slices.Concat(c.terminals, c.writers, c.short, c.withExec, c.stdinReaders)
}

// restart starts the engine after a kill and waits until runtimed runs.
func (c *workload) restart() {
	c.t.Helper()
	if err := c.start(); err != nil {
		c.t.Fatal(err)
	}
	await(c.t, "runtimed runs", func() bool { return c.runtimedPid() != 0 })
}

// runs checks that containers still run, with the same processes.
func (c *workload) runs(when string, members []*testContainer) {
	c.t.Helper()
	for _, m := range members {
		s := c.state(c.t, m.id).State
		if s.Status != "running" || s.Pid != m.pid || !alive(m.pid) {
			c.t.Fatalf("%s: container %s with process %d: %+v", when, m.id, m.pid, s)
		}
	}
}

// ends waits for the container's end and checks its exit code.
func (c *workload) ends(m *testContainer, code int) {
	c.t.Helper()
	var end struct{ StatusCode int }
	c.do(c.t, http.MethodPost, "/containers/"+m.id+"/wait", nil, &end)
	if s := c.state(c.t, m.id).State; end.StatusCode != code || s.Status != "exited" || s.ExitCode != code ||
		s.Error != "" {
		c.t.Errorf("container %s: %d, %+v, want code %d", m.id, end.StatusCode, s, code)
	}
}

// TestContainersSurviveKills kills runtimed, the engine, and both, while 50 containers
// run: some on terminals, some writing, some about to end, some with execs. All must run
// on, no line of output may be lost or repeated, and each exit must have one event with
// the true code.
func TestContainersSurviveKills(t *testing.T) {
	t.Parallel()
	c := newWorkload(t)
	since := time.Now().Unix()
	if n := len(c.all()); n != 50 {
		t.Fatalf("%d containers", n)
	}
	c.kill(t, c.runtimedPid())
	await(t, "runtimed is back", func() bool { return c.runtimedPid() != 0 })
	c.runs("after the kill of runtimed", c.all())

	c.kill(t, c.enginePid())
	c.restart()
	c.runs("after the kill of the engine", c.all())

	// These end while neither engine nor runtimed runs.
	runtimed := c.runtimedPid()
	if err := syscall.Kill(runtimed, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.kill(t, c.enginePid())
	away, later := c.short[:10], c.short[10:]
	for _, m := range slices.Concat(away, c.withExec[:4], c.writers[:6]) {
		m.signalGo(t)
	}
	for _, m := range slices.Concat(away, c.writers[:6]) {
		await(t, "a container ends", func() bool { return !alive(m.pid) })
	}
	c.kill(t, runtimed)
	c.restart()
	c.runs("after the kill of both", slices.Concat(c.terminals, c.writers[6:], later, c.withExec, c.stdinReaders))

	for _, m := range slices.Concat(later, c.withExec[4:], c.writers[6:]) {
		m.signalGo(t)
	}
	for _, m := range slices.Concat(c.short, c.writers) {
		c.ends(m, m.code)
	}
	for _, m := range c.writers {
		if out := c.ok(t, "logs", m.id) + "\n"; !counts(out, strings.Count(out, "\n")) || len(out) < 100 {
			t.Errorf("the lines of container %s aren't each there once: %d bytes", m.id, len(out))
		}
	}
	for _, m := range c.short {
		if out := c.ok(t, "logs", m.id); out != "last" {
			t.Errorf("container %s wrote %q", m.id, out)
		}
	}
	for _, m := range c.withExec {
		c.execEnds(t, m.exec)
	}
	c.useTerminals()
	for _, m := range c.stdinReaders {
		if out := c.feed(t, strings.NewReader("words"), "attach", m.id); out.stdout != "words" || out.code != 8 {
			t.Errorf("container %s: %+v", m.id, out)
		}
	}
	c.checkDieEvents(since)
}

// execEnds waits for the exit of an exec and checks its code.
func (r *rig) execEnds(t testing.TB, m *testContainer) {
	t.Helper()
	var x struct {
		Running  bool
		ExitCode *int
	}
	await(t, "the exec's end is known", func() bool {
		r.do(t, http.MethodGet, "/exec/"+m.id+"/json", nil, &x)
		return !x.Running && x.ExitCode != nil
	})
	if *x.ExitCode != m.code {
		t.Errorf("exec %s: code %d, want %d", m.id, *x.ExitCode, m.code)
	}
}

// useTerminals types to the terminals until they end.
func (c *workload) useTerminals() {
	c.t.Helper()
	for _, m := range c.terminals {
		term := c.terminal(c.t, "attach", m.id)
		await(c.t, "the terminal answers", func() bool { // attach does not show when it is connected
			term.send(c.t, "word\n")
			return strings.Contains(term.stdout.String(), "got word\r\n")
		})
		term.send(c.t, "end\n")
		if r := term.wait(c.t); r.code != 9 || !strings.Contains(r.stdout, "got end\r\n") {
			c.t.Errorf("terminal %s: %+v", m.id, r)
		}
	}
}

// checkDieEvents checks that each exit has one event.
func (c *workload) checkDieEvents(since int64) {
	c.t.Helper()
	out := c.ok(c.t, "events", "--since", fmt.Sprint(since), "--until", fmt.Sprint(time.Now().Unix()+1), "--filter",
		"event=die", "--format", "{{.Actor.ID}}")
	got := strings.Fields(out)
	var want []string
	for _, m := range slices.Concat(c.terminals, c.writers, c.short, c.stdinReaders) {
		want = append(want, m.id)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.t.Errorf("%d die events of %d containers", len(got), len(want))
	}
}
