package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"
)

// kind is a kind of container.
type kind struct {
	name    string // as in the tables of docs/testing.md
	stdin   bool
	memory  int64 // its limit in bytes; 0 is none
	restart string
	retries int
	log     map[string]any // its LogConfig; nil for the default
	// whileRunning is what the container's user does while the container runs; nil for
	// nothing. It returns when the container was asked to end, or ends by itself. When acting
	// ends, whileRunning comes to an end, too.
	whileRunning func(w *world, acting, ctx context.Context, c *container) error
}

// host is the container's HostConfig. The container uses the host's network namespace,
// since the reports go to an abstract socket address.
func (k kind) host(mounts []map[string]any) map[string]any {
	return map[string]any{
		"Mounts":      mounts,
		"NetworkMode": "host", "Memory": k.memory,
		"RestartPolicy": map[string]any{"Name": k.restart, "MaximumRetryCount": k.retries},
		"LogConfig":     k.log,
	}
}

// rotatedLog has the log rotated all the time, with so many files that no line goes.
func rotatedLog(driver string) map[string]any {
	return map[string]any{"Type": driver, "Config": map[string]string{"max-size": "5k", "max-file": "100000", "compress": "true"}}
}

// retries is how often containers that fail are started again.
const retries = 3

// containerKinds has one entry for each container that runs at the same time.
var containerKinds = []kind{
	{name: "short", whileRunning: waitExitCode}, {name: "short", whileRunning: waitExitCode}, {name: "short"},
	{name: "idles", whileRunning: endWithin(40)}, {name: "idles", whileRunning: endWithin(200)},
	{name: "idles", whileRunning: pause}, {name: "idles", whileRunning: pause},
	{name: "idles", whileRunning: startExecs}, {name: "idles", whileRunning: startExecs},
	{name: "writes", whileRunning: endWithin(25)}, {name: "writes", whileRunning: endWithin(25), log: rotatedLog("json-file")},
	{name: "writes", whileRunning: endWithin(60), log: rotatedLog("local")},
	{name: "reads", stdin: true, whileRunning: typeLines}, {name: "reads", stdin: true, whileRunning: typeLines},
	{name: withFiles, whileRunning: copyFiles}, {name: withFiles, whileRunning: copyFiles},
	{name: "eats", memory: 48 << 20},
	{name: "fails", restart: "on-failure", retries: retries}, {name: "fails", restart: "on-failure", retries: retries},
}

// waitExitCode asks for the exit code.
func waitExitCode(w *world, _, ctx context.Context, c *container) error {
	a := w.call(ctx, http.MethodPost, c.path()+"/wait", "")
	var end struct{ StatusCode int }
	if a.done() && json.Unmarshal(a.body, &end) == nil {
		c.waitedCode = &end.StatusCode
	}
	return nil
}

// endWithin ends a container after a random time of at most so many seconds, in a random
// way.
func endWithin(seconds int) func(w *world, acting, ctx context.Context, c *container) error {
	return func(w *world, acting, ctx context.Context, c *container) error {
		sleep(acting, time.Duration(c.random.IntN(1000*seconds))*time.Millisecond)
		return w.endRandomly(ctx, c)
	}
}

func (w *world) endRandomly(ctx context.Context, c *container) error {
	switch c.random.IntN(5) {
	case 0:
		return w.kill(ctx, c)
	case 1:
		c.killed = true
		return w.finish(ctx, c, http.MethodDelete, c.path()+"?force=1&v=1", "destroy")
	default:
		return w.stop(ctx, c)
	}
}

// pause pauses and resumes a container several times. It checks that the engine keeps the
// state, also over kills. The container may be paused when it ends.
func pause(w *world, acting, ctx context.Context, c *container) error {
	for range 1 + c.random.IntN(6) {
		if err := w.freeze(ctx, c, "pause", true); err != nil {
			return err
		}
		sleep(acting, time.Duration(c.random.IntN(3000))*time.Millisecond)
		s, _, err := w.inspect(ctx, c.name)
		if err == nil && s.State.Status != "paused" {
			w.difference("container %s was paused: %+v", c.name, s.State)
		}
		if c.random.IntN(6) == 0 || acting.Err() != nil {
			break
		}
		if err := w.freeze(ctx, c, "unpause", false); err != nil {
			return err
		}
		sleep(acting, time.Duration(c.random.IntN(1000))*time.Millisecond)
	}
	return w.endRandomly(ctx, c)
}

// freeze pauses or unpauses a container that runs.
func (w *world) freeze(ctx context.Context, c *container, action string, paused bool) error {
	var last answer
	if waitUntil(ctx, func() bool {
		last = c.countDone(w.call(ctx, http.MethodPost, c.path()+"/"+action, ""), action)
		s, _, err := w.inspect(ctx, c.name)
		if last.done() && err == nil && s.State.Paused != paused {
			w.difference("container %s after %s: %+v", c.name, action, s.State)
		}
		return err == nil && s.State.Paused == paused || !s.State.Running
	}) {
		return nil
	}
	return fmt.Errorf("%s: %d %s %v", action, last.status, last.body, last.err)
}

// startExecs runs execs in a container, one after the other.
func startExecs(w *world, acting, ctx context.Context, c *container) error {
	for range 1 + c.random.IntN(12) {
		if acting.Err() != nil {
			break
		}
		if err := w.runExec(ctx, c); err != nil {
			return err
		}
		sleep(acting, time.Duration(c.random.IntN(1000))*time.Millisecond)
	}
	return w.endRandomly(ctx, c)
}

// runExec runs one exec. It returns when the process has reported its end, or was never
// started.
func (w *world) runExec(ctx context.Context, c *container) error {
	x := &userExec{token: rand.Text()[:10]}
	body, err := json.Marshal(map[string]any{"Cmd": []string{"/chaos", "program", "exec", x.token},
		"AttachStdout": true, "AttachStderr": true})
	if err != nil {
		return err
	}
	a := c.countDone(w.call(ctx, http.MethodPost, c.path()+"/exec", string(body)), "exec_create")
	var created struct{ ID string }
	switch {
	case a.unclear():
		return nil
	case !a.done():
		return fmt.Errorf("exec create: %d %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &created); err != nil {
		return err
	}
	x.id = created.ID
	x.start = c.countDone(w.call(ctx, http.MethodPost, "/exec/"+x.id+"/start", `{"Detach":true}`), "exec_start")
	c.execs = append(c.execs, x)
	if !x.start.done() {
		if !x.start.unclear() && x.start.status != http.StatusNotFound { // the next engine doesn't know the exec
			return fmt.Errorf("exec start: %d %s", x.start.status, x.start.body)
		}
		return nil
	}
	if !waitUntil(ctx, func() bool { return w.reports.hasEnded(c.name, x.token) }) {
		return fmt.Errorf("exec %s was started and does not end", x.token)
	}
	return w.awaitExec(ctx, x)
}

// awaitExec waits until the engine shows that the exec has ended, or does not know the
// exec any more.
func (w *world) awaitExec(ctx context.Context, x *userExec) error {
	var shown struct {
		Running  bool
		ExitCode *int
	}
	var a answer
	if !waitUntil(ctx, func() bool {
		a = w.callUntilAnswered(ctx, http.MethodGet, "/exec/"+x.id+"/json")
		if a.status == http.StatusNotFound {
			return true
		}
		return a.done() && json.Unmarshal(a.body, &shown) == nil && !shown.Running && shown.ExitCode != nil
	}) {
		return fmt.Errorf("exec %s has ended, the engine says: %d %s", x.token, a.status, a.body)
	}
	x.code = shown.ExitCode
	return nil
}

// typeLines types lines to a container. Each line is typed again until the container
// reports it as read.
func typeLines(w *world, acting, ctx context.Context, c *container) error {
	var conn net.Conn
	for n := 1; n < 100 && acting.Err() == nil; {
		if conn == nil {
			if conn = w.attach(ctx, c); conn == nil {
				sleep(ctx, 20*time.Millisecond)
				continue
			}
			_, _ = fmt.Fprintln(conn) // ends the unfinished line of an earlier connection
		}
		_, err := fmt.Fprintf(conn, "line %d %d.\n", n, n)
		if err == nil && w.awaitRead(acting, c, n, 2*time.Second) {
			n++
			sleep(acting, time.Duration(c.random.IntN(200))*time.Millisecond)
			continue
		}
		conn.Close()
		conn = nil
	}
	if conn != nil {
		conn.Close()
	}
	return w.endRandomly(ctx, c)
}

// awaitRead waits until the container reports that it has read a line.
func (w *world) awaitRead(ctx context.Context, c *container, n int, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return waitUntil(ctx, func() bool { return w.reports.lastRead(c.name) >= n })
}

// attach connects to the container's stdin. It returns nil if that fails.
func (w *world) attach(ctx context.Context, c *container) net.Conn {
	conn, err := w.dial(ctx, "", "")
	if err != nil {
		return nil
	}
	conn.SetDeadline(time.Now().Add(waitLimit))
	_, wrote := fmt.Fprintf(conn,
		"POST %s/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
		c.path())
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if wrote != nil || err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
		return nil
	}
	return conn
}
