package simulation

import (
	"context"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// leaveUnattended keeps a container that its user leaves alone. The container stays until
// the end of the run, whatever happens to it.
func (w *world) leaveUnattended(u *user) {
	left := *u
	left.stdin = nil // its client may have ended with an earlier engine
	w.note("user", u.name+" leaves", short(u.id))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unattended = append(w.unattended, &left)
}

// noticeLimit is how long after a reconnect the engine may take to know all changes: the
// longest delay between two tries, and some messages. The periodic comparison comes later.
const noticeLimit = 20 * time.Second

// lastCut cuts the connection once more, after the last fault, for longer than any delay
// between two tries. Meanwhile the unattended containers end, are paused and resumed, and
// lose the clients of their stdin. No event reports these changes: the engine must ask
// after the reconnect.
func (w *world) lastCut(now *engineInstance) {
	const apart = 40 * time.Second
	for _, u := range w.unattended {
		u.attachForLastCut(now, apart)
	}
	begun := time.Now()
	w.cut(apart)
	for _, u := range w.unattended {
		d := u.dice("last cut")
		time.Sleep(d.between(time.Microsecond, apart/time.Duration(len(w.unattended))))
		switch d.below(4) {
		case 0:
			w.daemon.OOMKill(u.id)
		case 1, 2:
			w.togglePause(u.id)
		}
	}
	time.Sleep(apart + noticeLimit - time.Since(begun))
	w.compareStates(now)
	for _, u := range w.unattended {
		u.checkStdinEnd()
	}
}

// attachForLastCut attaches a client to a container that reads stdin. The client closes
// stdin within the given time.
func (u *user) attachForLastCut(inc *engineInstance, next time.Duration) {
	h := u.w.model.history(u.id)
	if h.removed || !u.kind.stdin {
		return
	}
	if h.status == "paused" {
		u.ask(inc, "unpause", func(ctx context.Context, e *engine.Engine, id string) error {
			return e.ContainerUnpause(ctx, id)
		})
	}
	u.attachStdin(inc, u.dice("visit").between(0, next))
	if !h.alive() {
		u.start(inc)
	}
}

// checkStdinEnd reports a container that runs on although its stdin was closed.
func (u *user) checkStdinEnd() {
	h := u.w.model.history(u.id)
	if u.stdin != nil && u.stdin.generation == h.generation && h.status == "running" {
		u.w.violation("stdin of %s was closed while the connection was cut, and it doesn't end", short(u.id))
	}
}

// togglePause pauses a container that runs, and resumes one that is paused.
func (w *world) togglePause(id string) {
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
