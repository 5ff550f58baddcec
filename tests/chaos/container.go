package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// container is one container, from its creation to its removal, as its user knows it.
type container struct {
	kind, name, id string
	random         *rand.Rand
	// starts are the answers to the user's requests to start it.
	starts []answer
	// done counts the requests that were answered as done, by the action of their event.
	done map[string]int
	// killed is true if the container was sent SIGKILL.
	killed bool
	// stopped is true if the container was sent SIGTERM.
	stopped bool
	// waitedCode is the exit code that a wait answered; nil for none.
	waitedCode *int
	final      *containerState // nil if it was removed while it ran
	logs       []byte
	// copied is the content of the files that were copied into its volume; nil where nobody knows whether one was.
	copied [][]byte
	execs  []*userExec
}

// userExec is an exec that the user started.
type userExec struct {
	id, token string
	start     answer
	code      *int // that the engine answered; nil for none
}

// runContainers creates, runs and removes one container after the other until acting ends.
// ctx bounds the last one.
func (w *world) runContainers(acting, ctx context.Context, k kind, number int) {
	random := w.random(number)
	for n := 0; acting.Err() == nil; n++ {
		c := &container{kind: k.name, name: fmt.Sprintf("%s-%d-%d", k.name, number, n), random: random,
			done: map[string]int{}}
		if err := w.runContainer(acting, ctx, k, c); err != nil && ctx.Err() == nil {
			w.difference("container %s: %v", c.name, err)
			sleep(acting, time.Second)
		}
		w.mu.Lock()
		w.containers = append(w.containers, c)
		w.mu.Unlock()
	}
}

// runContainer takes a container from its creation to its removal.
func (w *world) runContainer(acting, ctx context.Context, k kind, c *container) error {
	if err := w.create(ctx, k, c); err != nil {
		return err
	}
	runs, err := w.start(ctx, c)
	if err != nil {
		return err
	}
	if runs && k.whileRunning != nil {
		if err := k.whileRunning(w, acting, ctx, c); err != nil {
			return err
		}
	}
	if err := w.collect(ctx, c); err != nil {
		return err
	}
	if c.kind == withFiles && c.final != nil { // into a container that has ended
		if err := w.copyOne(ctx, c); err != nil {
			return err
		}
	}
	if err := w.remove(ctx, c); err != nil || c.kind != withFiles {
		return err
	}
	return w.checkFiles(ctx, c)
}

func (c *container) path() string { return "/containers/" + c.name }

// countDone counts a request that was answered as done.
func (c *container) countDone(a answer, action string) answer {
	if a.done() {
		c.done[action]++
	}
	return a
}

// create asks for the container until it is there.
func (w *world) create(ctx context.Context, k kind, c *container) error {
	var mounts []map[string]any
	if k.name == withFiles {
		mounts = w.mountsOf(c)
	}
	config := map[string]any{
		"Image": "chaos", "Cmd": []string{"/chaos", "program", k.name},
		"Env":       []string{addressVariable + "=" + w.reportAddress(), nameVariable + "=" + c.name},
		"OpenStdin": k.stdin, "HostConfig": k.host(mounts),
	}
	body, err := json.Marshal(config)
	if err != nil {
		return err
	}
	var last answer
	if waitUntil(ctx, func() bool {
		last = c.countDone(w.call(ctx, http.MethodPost, "/containers/create?name="+c.name, string(body)), "create")
		if last.done() || last.status == http.StatusConflict { // an earlier request may have been done
			s, found, err := w.inspect(ctx, c.name)
			c.id = s.ID
			return found && err == nil
		}
		return !last.unclear()
	}) && c.id != "" {
		return nil
	}
	return fmt.Errorf("create: %d %s %v", last.status, last.body, last.err)
}

// start asks for the container's start until one was tried, and reports whether the
// container runs then.
func (w *world) start(ctx context.Context, c *container) (bool, error) {
	for ctx.Err() == nil {
		a := w.call(ctx, http.MethodPost, c.path()+"/start", "")
		c.starts = append(c.starts, c.countDone(a, "start"))
		switch {
		case a.done(), a.err == nil && a.status == http.StatusNotModified:
			return true, nil
		case !a.unclear():
			return false, fmt.Errorf("start: %d %s", a.status, a.body)
		}
		s, found, err := w.inspect(ctx, c.name)
		if err != nil || !found {
			return false, fmt.Errorf("the container is gone after its start: %v", err)
		}
		if s.State.Status != "created" {
			return s.State.Running, nil
		}
	}
	return false, ctx.Err()
}

// stop asks for the container's end by SIGTERM until the container has ended.
func (w *world) stop(ctx context.Context, c *container) error {
	c.stopped = true
	return w.finish(ctx, c, http.MethodPost, c.path()+"/stop?t=30", "stop")
}

// kill asks for the container's end by SIGKILL.
func (w *world) kill(ctx context.Context, c *container) error {
	c.killed = true
	return w.finish(ctx, c, http.MethodPost, c.path()+"/kill", "kill")
}

// stillEnding is what the engine answers on a machine that is too busy to end a container in the time it has for that. A
// user asks again.
const stillEnding = "did not end within"

// finish sends a request that ends the container, until the container does not run.
func (w *world) finish(ctx context.Context, c *container, method, path, action string) error {
	begin := time.Now()
	var last answer
	var failed error
	ok := waitUntil(ctx, func() bool {
		last = c.countDone(w.call(ctx, method, path, ""), action)
		if !last.done() && !last.unclear() && last.status != http.StatusNotModified &&
			last.status != http.StatusConflict && !bytes.Contains(last.body, []byte(stillEnding)) {
			failed = fmt.Errorf("%s: %d %s", action, last.status, last.body)
			return true
		}
		s, found, err := w.inspect(ctx, c.name)
		return err == nil && (!found || !s.State.Running)
	})
	c.killed = c.killed || time.Since(begin) > 29*time.Second
	if failed == nil && !ok {
		failed = fmt.Errorf("the container still runs after %s: %d %s %v", action, last.status, last.body, last.err)
	}
	return failed
}

// collect waits for the container's end and keeps its last state and its logs.
func (w *world) collect(ctx context.Context, c *container) error {
	var s containerState
	var found bool
	var err error
	if !waitUntil(ctx, func() bool {
		s, found, err = w.inspect(ctx, c.name)
		return err == nil && (!found || !s.State.Running)
	}) {
		return fmt.Errorf("the container does not end: %+v %v", s.State, err)
	}
	if !found {
		return nil
	}
	c.final = &s
	a := w.callUntilAnswered(ctx, http.MethodGet, c.path()+"/logs?stdout=1&stderr=1")
	if !a.done() {
		return fmt.Errorf("logs: %d %s %v", a.status, a.body, a.err)
	}
	c.logs = a.body
	return nil
}

// remove asks for the container's removal until it is gone.
func (w *world) remove(ctx context.Context, c *container) error {
	var last answer
	if waitUntil(ctx, func() bool {
		last = c.countDone(w.call(ctx, http.MethodDelete, c.path()+"?v=1", ""), "destroy")
		return !last.unclear()
	}) && (last.done() || last.status == http.StatusNotFound) {
		return nil
	}
	return fmt.Errorf("remove: %d %s %v", last.status, last.body, last.err)
}
