package simulation

import (
	"context"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// leave takes over a container that its user leaves alone. It is there until
// the end, whatever happens to it.
func (w *world) leave(u *user) {
	left := *u
	left.fed = nil // its client may have gone with an engine
	w.note("user", u.name+" leaves", short(u.id))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = append(w.left, &left)
}

// soon is how long after a reconnect the engine may take to know everything: the
// longest delay between two tries and some messages. The periodic comparison
// comes later than that.
const soon = 20 * time.Second

// lastCut cuts the connection once more, for longer than any delay between two
// tries, when nothing else goes wrong any more. Meanwhile the containers that
// were left alone end, are paused and resumed, and lose the clients who had their
// stdin. No event will tell of it: who connects again has to ask.
func (w *world) lastCut(now *incarnation) {
	const apart = 40 * time.Second
	for _, u := range w.left {
		u.visit(now, apart)
	}
	begun := time.Now()
	w.cut(apart)
	for _, u := range w.left {
		d := u.dice("last cut")
		time.Sleep(d.between(time.Microsecond, apart/time.Duration(len(w.left))))
		switch d.below(4) {
		case 0:
			w.daemon.OOMKill(u.id)
		case 1, 2:
			w.turnOver(u.id)
		}
	}
	time.Sleep(apart + soon - time.Since(begun))
	w.compareStates(now)
	for _, u := range w.left {
		u.hasEnded()
	}
}

// visit has the stdin of a container that wants one, until some time within the
// next.
func (u *user) visit(inc *incarnation, next time.Duration) {
	h := u.w.ledger.of(u.id)
	if h.removed || !u.typ.stdin {
		return
	}
	if h.status == "paused" {
		u.ask(inc, "unpause", func(ctx context.Context, e *engine.Engine, id string) error { return e.ContainerUnpause(ctx, id) })
	}
	u.join(inc, u.dice("visit").between(0, next))
	if !h.alive() {
		u.start(inc)
	}
}

// hasEnded tells of a container that goes on without its stdin.
func (u *user) hasEnded() {
	h := u.w.ledger.of(u.id)
	if u.fed != nil && u.fed.generation == h.generation && h.status == "running" {
		u.w.wrong("stdin of %s was closed while the connection was cut, and it doesn't end", short(u.id))
	}
}

// turnOver pauses a container that runs, and resumes one that is paused.
func (w *world) turnOver(id string) {
	for _, t := range w.tasks() {
		switch {
		case t.ID != id:
		case t.Status == libcontainerd.TaskPaused:
			w.must(w.daemon.Resume(context.Background(), id))
		case t.Status == libcontainerd.TaskRunning:
			w.must(w.daemon.Pause(context.Background(), id))
		}
	}
}
