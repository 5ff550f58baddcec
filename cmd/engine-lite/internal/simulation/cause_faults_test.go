package simulation

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// causeFaults causes faults of the daemon, of its processes and of the engine, until ctx
// ends.
func (w *world) causeFaults(ctx context.Context) {
	const actor = "mischief" // a part of the seed: with another name, each seed is another run
	for turn := w.dice(actor); sleep(ctx, turn.between(50*time.Millisecond, 4*time.Second)); turn = w.dice(actor) {
		switch turn.below(40) {
		case 0, 1, 2, 3:
			if id := w.victim(turn, libcontainerd.TaskRunning); id != "" && w.fault("out of memory", true) {
				w.daemon.OOMKill(id)
			}
		case 4, 5, 6:
			if id := w.victim(turn, libcontainerd.TaskRunning); id != "" && w.fault("paused by another client", true) {
				_ = w.daemon.Pause(ctx, id) // it may have ended
			}
		case 7, 8, 9, 10, 11:
			if id := w.victim(turn, libcontainerd.TaskPaused); id != "" && w.fault("resumed by another client", true) {
				_ = w.daemon.Resume(ctx, id)
			}
		case 12, 13:
			if w.fault("subscription cut", true) {
				w.daemon.CutSubscriptions()
			}
		case 14, 15:
			if w.fault("daemon restarted with its tasks", true) {
				w.takeDaemonDown(turn.between(time.Millisecond, 45*time.Second))
			}
		case 16:
			if turn.chance(3) && w.fault("daemon restarted empty", true) {
				w.restartEmpty(ctx, turn)
			}
		case 17:
			select {
			case w.restarts <- struct{}{}:
				w.fault("engine restarted in order", true)
			default: // no engine is open
			}
		}
	}
}

// tasks are the daemon's tasks, sorted by id. They are read without the engine's
// connection.
func (w *world) tasks() []libcontainerd.Task {
	all, err := w.daemon.Tasks(context.Background())
	if err != nil {
		return nil // the daemon is down
	}
	slices.SortFunc(all, func(a, b libcontainerd.Task) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// victim picks a container with a task in that state.
func (w *world) victim(d *dice, in libcontainerd.TaskStatus) string {
	all := slices.DeleteFunc(w.tasks(), func(t libcontainerd.Task) bool { return t.Status != in })
	if len(all) == 0 {
		return ""
	}
	return all[d.below(len(all))].ID
}

// restartEmpty restarts the daemon without its containers and processes.
func (w *world) restartEmpty(ctx context.Context, d *dice) {
	for _, t := range w.tasks() {
		w.model.forget(t.ID)
		w.daemon.Forget(t.ID)
	}
	var ids []string
	_ = w.daemon.Containers(ctx, func(id string) error {
		ids = append(ids, id)
		return nil
	})
	for _, id := range ids {
		_ = w.daemon.DeleteContainer(ctx, id)
	}
	w.takeDaemonDown(d.between(time.Millisecond, 5*time.Second))
}
