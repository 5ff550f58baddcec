package main

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"
)

// killProcesses kills processes at random moments until ctx ends. Then it waits until the
// engine answers.
func (w *world) killProcesses(ctx context.Context) {
	random := w.random(-1)
	// Of each hundred, so many kill these. The first ones are one of each, so that none is left out by chance.
	shares := []int{45, 30, 10, 15}
	first := random.Perm(len(shares))
	for ctx.Err() == nil {
		sleep(ctx, time.Duration(200+random.IntN(2300))*time.Millisecond)
		var which int
		if len(first) > 0 {
			which, first = first[0], first[1:]
		} else {
			for n := random.IntN(100); n >= shares[which]; which++ {
				n -= shares[which]
			}
		}
		switch which {
		case 0:
			w.killEngine(random)
		case 1:
			w.killRuntimed()
		case 2:
			w.killRuntimed()
			w.killEngine(random)
		default:
			c := w.consumers[random.IntN(len(w.consumers))]
			w.noteKill(c.name)
			c.kill(w)
		}
		if w.engine.hasEnded() {
			w.difference("the engine ended by itself:\n%s", w.tail("engine.log"))
			if err := w.spawnEngine(); err != nil {
				w.difference("the engine cannot be started: %v", err)
				return
			}
		}
	}
	if err := w.awaitEngine(context.WithoutCancel(ctx)); err != nil {
		w.difference("at the end: %v", err)
	}
}

// checkKills checks that, in a run that is long enough, each kind of process was killed at
// least once.
func (w *world) checkKills(length time.Duration) {
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
			w.difference("never killed: %s", victim)
		}
	}
}

func (w *world) noteKill(victim string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kills = append(w.kills, kill{victim, time.Now()})
}

// killEngine kills the engine and starts the next one after a pause. It may kill that one
// before it is ready.
func (w *world) killEngine(random *rand.Rand) {
	victim := "engine"
	for {
		if w.engine.hasEnded() {
			return // it ended by itself, which the caller reports
		}
		w.noteKill(victim)
		if err := w.engine.cmd.Process.Kill(); err != nil {
			w.difference("kill the engine: %v", err)
		}
		<-w.engine.ended
		sleep(context.Background(), time.Duration(random.IntN(700))*time.Millisecond)
		if err := w.spawnEngine(); err != nil {
			w.difference("the engine cannot be started: %v", err)
			return
		}
		if random.IntN(5) > 0 {
			break
		}
		sleep(context.Background(), time.Duration(random.IntN(300))*time.Millisecond)
		victim = "engine, starting"
	}
	if err := w.awaitEngine(context.Background()); err != nil {
		w.difference("after a kill: %v", err)
	}
}

// killRuntimed kills the runtime daemon if there is one. The keeper starts the next one.
func (w *world) killRuntimed() {
	pid := w.runtimedPid()
	if pid == 0 {
		return
	}
	w.noteKill("runtimed")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.difference("kill runtimed: %v", err)
	}
}
