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
	name    string // of what it plays
	stdin   bool
	memory  int64 // its limit in bytes; 0 is none
	restart string
	retries int
	// lead is what its user does while it runs; nil for nothing. It returns when the
	// container has been asked to end, or does so by itself. acting ends early.
	lead func(w *world, acting, ctx context.Context, l *life) error
}

// host is the container's HostConfig. In the host's network namespace the abstract
// address of the ledger can be reached.
func (k kind) host() map[string]any {
	return map[string]any{
		"NetworkMode": "host", "Memory": k.memory,
		"RestartPolicy": map[string]any{"Name": k.restart, "MaximumRetryCount": k.retries},
	}
}

// retries is how often containers that fail are started again.
const retries = 3

// cast is who lives at the same time.
var cast = []kind{
	{name: "short", lead: wait}, {name: "short", lead: wait}, {name: "short"},
	{name: "idles", lead: endLater(40)}, {name: "idles", lead: endLater(200)},
	{name: "idles", lead: pause}, {name: "idles", lead: pause},
	{name: "idles", lead: runExecs}, {name: "idles", lead: runExecs},
	{name: "writes", lead: endLater(25)}, {name: "writes", lead: endLater(25)}, {name: "writes", lead: endLater(60)},
	{name: "reads", stdin: true, lead: talk}, {name: "reads", stdin: true, lead: talk},
	{name: "eats", memory: 48 << 20},
	{name: "fails", restart: "on-failure", retries: retries}, {name: "fails", restart: "on-failure", retries: retries},
}

// wait asks for the exit code.
func wait(w *world, _, ctx context.Context, l *life) error {
	a := w.call(ctx, http.MethodPost, l.path()+"/wait", "")
	var end struct{ StatusCode int }
	if a.done() && json.Unmarshal(a.body, &end) == nil {
		l.waited = &end.StatusCode
	}
	return nil
}

// endLater ends a container after so many seconds at most, in one of the ways there are.
func endLater(seconds int) func(w *world, acting, ctx context.Context, l *life) error {
	return func(w *world, acting, ctx context.Context, l *life) error {
		rest(acting, time.Duration(l.random.IntN(1000*seconds))*time.Millisecond)
		return w.endSomehow(ctx, l)
	}
}

func (w *world) endSomehow(ctx context.Context, l *life) error {
	switch l.random.IntN(5) {
	case 0:
		return w.kill(ctx, l)
	case 1:
		l.killed = true
		return w.finish(ctx, l, http.MethodDelete, l.path()+"?force=1", "destroy")
	default:
		return w.stop(ctx, l)
	}
}

// pause freezes a container and thaws it, and checks that it is what the engine
// says, whoever was killed meanwhile. It may end frozen.
func pause(w *world, acting, ctx context.Context, l *life) error {
	for range 1 + l.random.IntN(6) {
		if err := w.freeze(ctx, l, "pause", true); err != nil {
			return err
		}
		rest(acting, time.Duration(l.random.IntN(3000))*time.Millisecond)
		s, _, err := w.inspect(ctx, l.name)
		if err == nil && s.State.Status != "paused" {
			w.differ("container %s was paused: %+v", l.name, s.State)
		}
		if l.random.IntN(6) == 0 || acting.Err() != nil {
			break
		}
		if err := w.freeze(ctx, l, "unpause", false); err != nil {
			return err
		}
		rest(acting, time.Duration(l.random.IntN(1000))*time.Millisecond)
	}
	return w.endSomehow(ctx, l)
}

// freeze pauses or unpauses a container that runs.
func (w *world) freeze(ctx context.Context, l *life, action string, paused bool) error {
	var last answer
	if holds(ctx, func() bool {
		last = l.ack(w.call(ctx, http.MethodPost, l.path()+"/"+action, ""), action)
		s, _, err := w.inspect(ctx, l.name)
		if last.done() && err == nil && s.State.Paused != paused {
			w.differ("container %s after %s: %+v", l.name, action, s.State)
		}
		return err == nil && s.State.Paused == paused || !s.State.Running
	}) {
		return nil
	}
	return fmt.Errorf("%s: %d %s %v", action, last.status, last.body, last.err)
}

// runExecs runs processes in a container, one after the other.
func runExecs(w *world, acting, ctx context.Context, l *life) error {
	for range 1 + l.random.IntN(12) {
		if acting.Err() != nil {
			break
		}
		if err := w.runExec(ctx, l); err != nil {
			return err
		}
		rest(acting, time.Duration(l.random.IntN(1000))*time.Millisecond)
	}
	return w.endSomehow(ctx, l)
}

// runExec runs one. It returns when the process has ended by its own word, or was
// never started.
func (w *world) runExec(ctx context.Context, l *life) error {
	x := &execution{token: rand.Text()[:10]}
	body, err := json.Marshal(map[string]any{"Cmd": []string{"/chaos", "act", "exec", x.token}, "AttachStdout": true, "AttachStderr": true})
	if err != nil {
		return err
	}
	a := l.ack(w.call(ctx, http.MethodPost, l.path()+"/exec", string(body)), "exec_create")
	var made struct{ ID string }
	switch {
	case a.open():
		return nil
	case !a.done():
		return fmt.Errorf("exec create: %d %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &made); err != nil {
		return err
	}
	x.id = made.ID
	x.start = l.ack(w.call(ctx, http.MethodPost, "/exec/"+x.id+"/start", `{"Detach":true}`), "exec_start")
	l.execs = append(l.execs, x)
	if !x.start.done() {
		if !x.start.open() && x.start.status != http.StatusNotFound { // another engine doesn't know it
			return fmt.Errorf("exec start: %d %s", x.start.status, x.start.body)
		}
		return nil
	}
	if !holds(ctx, func() bool { return w.ledger.hasEnded(l.name, x.token) }) {
		return fmt.Errorf("exec %s was started and does not end", x.token)
	}
	return w.awaitExec(ctx, x)
}

// awaitExec waits until the engine knows of the exec's end, or no longer of the exec.
func (w *world) awaitExec(ctx context.Context, x *execution) error {
	var told struct {
		Running  bool
		ExitCode *int
	}
	var a answer
	if !holds(ctx, func() bool {
		a = w.sure(ctx, http.MethodGet, "/exec/"+x.id+"/json")
		if a.status == http.StatusNotFound {
			return true
		}
		return a.done() && json.Unmarshal(a.body, &told) == nil && !told.Running && told.ExitCode != nil
	}) {
		return fmt.Errorf("exec %s has ended, the engine says: %d %s", x.token, a.status, a.body)
	}
	x.code = told.ExitCode
	return nil
}

// talk types lines to a container, each until it says that it has read it.
func talk(w *world, acting, ctx context.Context, l *life) error {
	var conn net.Conn
	for n := 1; n < 100 && acting.Err() == nil; {
		if conn == nil {
			if conn = w.attach(ctx, l); conn == nil {
				rest(ctx, 20*time.Millisecond)
				continue
			}
			_, _ = fmt.Fprintln(conn) // ends what an earlier connection has left of a line
		}
		_, err := fmt.Fprintf(conn, "line %d %d.\n", n, n)
		if err == nil && w.heard(acting, l, n, 2*time.Second) {
			n++
			rest(acting, time.Duration(l.random.IntN(200))*time.Millisecond)
			continue
		}
		conn.Close()
		conn = nil
	}
	if conn != nil {
		conn.Close()
	}
	return w.endSomehow(ctx, l)
}

// heard waits until the container says that it has read a line.
func (w *world) heard(ctx context.Context, l *life, n int, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return holds(ctx, func() bool { return w.ledger.heard(l.name) >= n })
}

// attach connects to the container's stdin; nil where that doesn't work now.
func (w *world) attach(ctx context.Context, l *life) net.Conn {
	conn, err := w.dial(ctx, "", "")
	if err != nil {
		return nil
	}
	conn.SetDeadline(time.Now().Add(patience))
	_, wrote := fmt.Fprintf(conn, "POST %s/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", l.path())
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if wrote != nil || err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
		return nil
	}
	return conn
}
