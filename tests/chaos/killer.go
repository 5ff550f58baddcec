package main

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"
)

// hunt kills processes at random moments until ctx ends. Afterwards all of them
// are there.
func (w *world) hunt(ctx context.Context) {
	random := w.random(-1)
	for ctx.Err() == nil {
		rest(ctx, time.Duration(200+random.IntN(2300))*time.Millisecond)
		switch n := random.IntN(100); {
		case n < 45:
			w.killEngine(random)
		case n < 75:
			w.killRuntimed()
		case n < 85:
			w.killRuntimed()
			w.killEngine(random)
		default:
			c := w.consumers[random.IntN(len(w.consumers))]
			w.note(c.name)
			c.kill(w)
		}
		if w.engine.over() {
			w.differ("the engine ended by itself:\n%s", w.tail("engine.log"))
			if err := w.launch(); err != nil {
				w.differ("the engine cannot be started: %v", err)
				return
			}
		}
	}
	if err := w.answers(context.WithoutCancel(ctx)); err != nil {
		w.differ("at the end: %v", err)
	}
}

// checkHunt makes sure that the killer has killed: of each kind of process one, in a
// run that is long enough.
func (w *world) checkHunt(length time.Duration) {
	w.mu.Lock()
	victims := map[string]bool{}
	for _, k := range w.kills {
		victims[k.victim] = true
		for _, c := range w.consumers {
			victims["a consumer"] = victims["a consumer"] || k.victim == c.name
		}
	}
	w.mu.Unlock()
	for _, victim := range []string{"engine", "runtimed", "a consumer"} {
		if length >= time.Minute && !victims[victim] {
			w.differ("nobody killed: %s", victim)
		}
	}
}

func (w *world) note(victim string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kills = append(w.kills, kill{victim, time.Now()})
}

// killEngine kills the engine and starts the next one after a while, which may be
// killed before it is ready.
func (w *world) killEngine(random *rand.Rand) {
	victim := "engine"
	for {
		if w.engine.over() {
			return // by itself: the caller looks
		}
		w.note(victim)
		if err := w.engine.cmd.Process.Kill(); err != nil {
			w.differ("kill the engine: %v", err)
		}
		<-w.engine.ended
		rest(context.Background(), time.Duration(random.IntN(700))*time.Millisecond)
		if err := w.launch(); err != nil {
			w.differ("the engine cannot be started: %v", err)
			return
		}
		if random.IntN(5) > 0 {
			break
		}
		rest(context.Background(), time.Duration(random.IntN(300))*time.Millisecond)
		victim = "engine, starting"
	}
	if err := w.answers(context.Background()); err != nil {
		w.differ("after a kill: %v", err)
	}
}

// killRuntimed kills the runtime daemon, if there is one just now: the keeper
// starts the next one.
func (w *world) killRuntimed() {
	pid := w.runtimedPid()
	if pid == 0 {
		return
	}
	w.note("runtimed")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.differ("kill runtimed: %v", err)
	}
}
