package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// life is one container, from its creation to its removal, as its user knows it.
type life struct {
	kind, name, id string
	random         *rand.Rand
	// starts are the answers to the user's requests to start it.
	starts []answer
	// acked counts what the engine said was done, by the event that tells of it.
	acked map[string]int
	// killed says that somebody sent SIGKILL.
	killed bool
	// stopped says that somebody sent SIGTERM.
	stopped bool
	// waited is the exit code that a wait told; nil for none.
	waited *int
	last   *shown // how it had ended; nil where it was removed while it ran
	logs   []byte
	execs  []*execution
}

// execution is an exec of a container's user.
type execution struct {
	id, token string
	start     answer
	code      *int // what the engine said; nil where it didn't
}

// follow has one container after the other live until acting ends. ctx bounds the
// last one.
func (w *world) follow(acting, ctx context.Context, k kind, who int) {
	random := w.random(who)
	for n := 0; acting.Err() == nil; n++ {
		l := &life{kind: k.name, name: fmt.Sprintf("%s-%d-%d", k.name, who, n), random: random, acked: map[string]int{}}
		if err := w.live(acting, ctx, k, l); err != nil && ctx.Err() == nil {
			w.differ("container %s: %v", l.name, err)
			rest(acting, time.Second)
		}
		w.mu.Lock()
		w.lives = append(w.lives, l)
		w.mu.Unlock()
	}
}

// live is a container's whole life.
func (w *world) live(acting, ctx context.Context, k kind, l *life) error {
	if err := w.create(ctx, k, l); err != nil {
		return err
	}
	runs, err := w.start(ctx, l)
	if err != nil {
		return err
	}
	if runs && k.lead != nil {
		if err := k.lead(w, acting, ctx, l); err != nil {
			return err
		}
	}
	if err := w.collect(ctx, l); err != nil {
		return err
	}
	return w.remove(ctx, l)
}

func (l *life) path() string { return "/containers/" + l.name }

// ack notes what the engine said was done.
func (l *life) ack(a answer, action string) answer {
	if a.done() {
		l.acked[action]++
	}
	return a
}

// create asks for the container until it is there.
func (w *world) create(ctx context.Context, k kind, l *life) error {
	config := map[string]any{
		"Image": "chaos", "Cmd": []string{"/chaos", "act", k.name},
		"Env":       []string{ledgerVariable + "=" + w.ledgerAddress(), nameVariable + "=" + l.name},
		"OpenStdin": k.stdin, "HostConfig": k.host(),
	}
	body, err := json.Marshal(config)
	if err != nil {
		return err
	}
	var last answer
	if holds(ctx, func() bool {
		last = l.ack(w.call(ctx, http.MethodPost, "/containers/create?name="+l.name, string(body)), "create")
		if last.done() || last.status == http.StatusConflict { // an earlier request may have been done
			s, found, err := w.inspect(ctx, l.name)
			l.id = s.ID
			return found && err == nil
		}
		return !last.open()
	}) && l.id != "" {
		return nil
	}
	return fmt.Errorf("create: %d %s %v", last.status, last.body, last.err)
}

// start asks for the container's start until it was tried, and tells whether the
// container runs then.
func (w *world) start(ctx context.Context, l *life) (bool, error) {
	for ctx.Err() == nil {
		a := w.call(ctx, http.MethodPost, l.path()+"/start", "")
		l.starts = append(l.starts, l.ack(a, "start"))
		switch {
		case a.done(), a.err == nil && a.status == http.StatusNotModified:
			return true, nil
		case !a.open():
			return false, fmt.Errorf("start: %d %s", a.status, a.body)
		}
		s, found, err := w.inspect(ctx, l.name)
		if err != nil || !found {
			return false, fmt.Errorf("after a start there is no container: %v", err)
		}
		if s.State.Status != "created" {
			return s.State.Running, nil
		}
	}
	return false, ctx.Err()
}

// stop asks for the container's end by SIGTERM until it was done.
func (w *world) stop(ctx context.Context, l *life) error {
	l.stopped = true
	return w.finish(ctx, l, http.MethodPost, l.path()+"/stop?t=30", "stop")
}

// kill asks for the container's end by SIGKILL.
func (w *world) kill(ctx context.Context, l *life) error {
	l.killed = true
	return w.finish(ctx, l, http.MethodPost, l.path()+"/kill", "kill")
}

// finish sends a request that ends the container until it doesn't run.
func (w *world) finish(ctx context.Context, l *life, method, path, action string) error {
	begin := time.Now()
	var last answer
	var failed error
	ok := holds(ctx, func() bool {
		last = l.ack(w.call(ctx, method, path, ""), action)
		if !last.done() && !last.open() && last.status != http.StatusNotModified && last.status != http.StatusConflict {
			failed = fmt.Errorf("%s: %d %s", action, last.status, last.body)
			return true
		}
		s, found, err := w.inspect(ctx, l.name)
		return err == nil && (!found || !s.State.Running)
	})
	l.killed = l.killed || time.Since(begin) > 29*time.Second
	if failed == nil && !ok {
		failed = fmt.Errorf("it runs on after %s: %d %s %v", action, last.status, last.body, last.err)
	}
	return failed
}

// collect waits for the container's end and takes what the engine says of it.
func (w *world) collect(ctx context.Context, l *life) error {
	var s shown
	var found bool
	var err error
	if !holds(ctx, func() bool {
		s, found, err = w.inspect(ctx, l.name)
		return err == nil && (!found || !s.State.Running)
	}) {
		return fmt.Errorf("it does not end: %+v %v", s.State, err)
	}
	if !found {
		return nil
	}
	l.last = &s
	a := w.sure(ctx, http.MethodGet, l.path()+"/logs?stdout=1&stderr=1")
	if !a.done() {
		return fmt.Errorf("logs: %d %s %v", a.status, a.body, a.err)
	}
	l.logs = a.body
	return nil
}

// remove asks for the container's removal until it is gone.
func (w *world) remove(ctx context.Context, l *life) error {
	var last answer
	if holds(ctx, func() bool {
		last = l.ack(w.call(ctx, http.MethodDelete, l.path(), ""), "destroy")
		return !last.open()
	}) && (last.done() || last.status == http.StatusNotFound) {
		return nil
	}
	return fmt.Errorf("remove: %d %s %v", last.status, last.body, last.err)
}
