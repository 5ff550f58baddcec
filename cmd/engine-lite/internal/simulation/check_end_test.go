package simulation

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
)

// checkEnd compares the engine's answers with the daemon's state after the last fault.
// Then it removes all containers and looks for leftovers.
func (w *world) checkEnd(root string, readers []*reader) {
	now := w.now
	if now == nil {
		return
	}
	time.Sleep(5 * time.Minute)
	w.compareStates(now)
	w.lastCut(now)
	w.removeAll(now)
	w.removeVolumes(now)
	time.Sleep(2 * time.Minute)
	w.must(now.close())
	last := w.newEngineInstance(root)
	if err := last.open(); err != nil {
		w.violation("the last engine can't be opened: %v", err)
		return
	}
	w.setRunning(nil)
	w.setRunning(last)
	time.Sleep(time.Minute)
	w.nothingLeft(last)
	for _, r := range readers {
		if at := r.position(); at != w.model.newest() {
			w.violation("the %s reader has %d of %d events", r.name, at, w.model.newest())
		}
	}
	w.setRunning(nil)
	w.must(last.close())
}

// compareStates checks that the engine and the daemon agree on all containers.
func (w *world) compareStates(i *engineInstance) {
	tasks := map[string]string{}
	for _, t := range w.tasks() {
		tasks[t.ID] = fmt.Sprintf("%d with pid %d", t.Status, t.Pid)
	}
	list, err := i.engine.ContainerList(i.ctx, engine.ListOptions{All: true})
	w.must(err)
	var runs []string
	for _, c := range list {
		answer, err := i.engine.ContainerInspect(i.ctx, c.ID, false)
		w.must(err)
		status := map[string]int{"running": 2, "paused": 3}[string(answer.State.Status)]
		says := fmt.Sprintf("%d with pid %d", status, answer.State.Pid)
		if status == 0 {
			says = ""
		}
		if answer.State.Status != "restarting" && says != tasks[c.ID] {
			w.violation("%s is %s (%s), at the daemon %q: %+v", short(c.ID), answer.State.Status, says, tasks[c.ID],
				w.model.history(c.ID))
		}
		delete(tasks, c.ID)
		if status != 0 {
			runs = append(runs, resources.Run(c.ID, w.model.history(c.ID).generation).String())
		}
	}
	w.checkPorts(runs)
	if len(tasks) > 0 {
		w.violation("the daemon has tasks of no container: %v", tasks)
	}
}

func (w *world) removeAll(i *engineInstance) {
	list, err := i.engine.ContainerList(i.ctx, engine.ListOptions{All: true})
	w.must(err)
	for _, c := range list {
		w.must(i.engine.ContainerRemove(i.ctx, c.ID, engine.RemoveOptions{Force: true, Volumes: true}))
		if !w.model.history(c.ID).removed {
			w.violation("%s was removed, but the journal has no event of it", short(c.ID))
		}
	}
}

func (w *world) nothingLeft(i *engineInstance) {
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
	left["files of volumes"] = i.volumeFiles()
	left["ports"] = slices.Collect(maps.Keys(w.ports.Holders()))
	for what, names := range left {
		if len(names) > 0 {
			w.violation("%s are left: %v", what, names)
		}
	}
	w.model.checkComplete()
}
