package simulation

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

// judge compares what the engine says, now that nothing goes wrong any more,
// with what is so, has all removed, and looks for what is left.
func (w *world) judge(root string, readers []*reader) {
	now := w.now
	if now == nil {
		return
	}
	time.Sleep(5 * time.Minute)
	w.compareStates(now)
	w.lastCut(now)
	w.removeAll(now)
	time.Sleep(2 * time.Minute)
	w.must(now.close())
	last := w.newIncarnation(root)
	if err := last.open(); err != nil {
		w.wrong("the last engine can't be opened: %v", err)
		return
	}
	w.setRunning(nil)
	w.setRunning(last)
	time.Sleep(time.Minute)
	w.nothingLeft(last)
	for _, r := range readers {
		if at := r.position(); at != w.ledger.newest() {
			w.wrong("the %s reader has %d of %d events", r.name, at, w.ledger.newest())
		}
	}
	w.setRunning(nil)
	w.must(last.close())
}

// compareStates wants the engine's containers to be what the daemon says.
func (w *world) compareStates(i *incarnation) {
	tasks := map[string]string{}
	for _, t := range w.tasks() {
		tasks[t.ID] = fmt.Sprintf("%d with pid %d", t.Status, t.Pid)
	}
	list, err := i.engine.ContainerList(i.ctx, engine.ListOptions{All: true})
	w.must(err)
	for _, c := range list {
		answer, err := i.engine.ContainerInspect(i.ctx, c.ID, false)
		w.must(err)
		status := map[string]int{"running": 2, "paused": 3}[string(answer.State.Status)]
		says := fmt.Sprintf("%d with pid %d", status, answer.State.Pid)
		if status == 0 {
			says = ""
		}
		if answer.State.Status != "restarting" && says != tasks[c.ID] {
			w.wrong("%s is %s (%s), at the daemon %q: %+v", short(c.ID), answer.State.Status, says, tasks[c.ID], w.ledger.of(c.ID))
		}
		delete(tasks, c.ID)
	}
	if len(tasks) > 0 {
		w.wrong("the daemon has tasks of no container: %v", tasks)
	}
}

func (w *world) removeAll(i *incarnation) {
	list, err := i.engine.ContainerList(i.ctx, engine.ListOptions{All: true})
	w.must(err)
	for _, c := range list {
		w.must(i.engine.ContainerRemove(i.ctx, c.ID, engine.RemoveOptions{Force: true}))
		if !w.ledger.of(c.ID).removed {
			w.wrong("%s was removed, and the journal says nothing of it", short(c.ID))
		}
	}
}

func (w *world) nothingLeft(i *incarnation) {
	left := map[string][]string{
		"streams": w.streams.Left(), "holds of the keeper": w.keeper.left(), "root filesystems": w.rootfs.left(),
		"records": i.records(),
	}
	for _, t := range w.tasks() {
		left["tasks"] = append(left["tasks"], t.ID)
	}
	w.must(w.daemon.Containers(context.Background(), func(id string) error {
		left["records of the daemon"] = append(left["records of the daemon"], id)
		return nil
	}))
	dirs, err := filepath.Glob(filepath.Join(i.root, "containers", "*"))
	w.must(err)
	left["directories"] = dirs
	for what, names := range left {
		if len(names) > 0 {
			w.wrong("%s are left: %v", what, names)
		}
	}
	w.ledger.over()
}
