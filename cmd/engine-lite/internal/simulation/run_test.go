package simulation

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
)

// result is what came of a run.
type result struct {
	broken     []string // promises
	first      int      // after so many lifecycles the first of them
	lifecycles int
	hash       string
	trace      string
	faults     map[string]int
}

// simulate runs one seed in a bubble of its own. dir is an empty directory.
func simulate(t *testing.T, p plan, dir string) (r result) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, p.seed) // the containers' ids
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, dir)
		w.run()
		r = result{w.broken, w.first, w.ledger.lifecycles(), w.trace.hash(), "", w.faults}
		if p.print {
			r.trace = w.trace.String()
		}
	})
	return r
}

func (w *world) run() {
	w.must(os.MkdirAll(filepath.Join(w.dir, "rootfs"), 0o700))
	null, err := os.Open(os.DevNull)
	w.must(err)
	w.keeper.null = null
	ctx, quiet := context.WithCancel(context.Background())
	var mischief sync.WaitGroup
	mischief.Go(func() { w.mischief(ctx) })
	for n := range w.plan.users {
		u := &user{w: w, name: fmt.Sprintf("user%d", n), share: (w.plan.lifecycles + w.plan.users - 1) / w.plan.users}
		w.acting.Go(u.run)
	}
	readers := []*reader{{w: w, name: "fast"}, {w: w, name: "slow", slow: true}}
	var reading sync.WaitGroup
	over, finish := context.WithCancel(context.Background())
	for _, r := range readers {
		reading.Go(func() { r.run(over) })
	}
	acted := make(chan struct{})
	go func() {
		w.acting.Wait()
		quiet()
		mischief.Wait()
		w.calm.Store(true)
		w.daemon.SetDown(false)
		close(acted)
	}()
	root := w.keepOpen(filepath.Join(w.dir, "0"), acted)
	w.judge(root, readers)
	finish()
	for _, i := range w.engines {
		if i.isDead() {
			i.bury()
		}
	}
	reading.Wait()
	w.daemon.Close()
	w.must(null.Close())
}

func (w *world) must(err error) {
	if err != nil {
		w.wrong("%v", err)
	}
}

// keepOpen opens an engine, and the next one whenever it has ended, until done
// is closed and one is open. That one is w.now.
func (w *world) keepOpen(root string, done <-chan struct{}) string {
	w.must(os.MkdirAll(root, 0o700))
	for {
		i := w.newIncarnation(root)
		err := i.open()
		if err == nil {
			w.engines = append(w.engines, i)
			w.setRunning(i)
			w.note("engine", "opened", filepath.Base(root))
			select {
			case <-i.died:
			case <-w.restarts:
			case <-done:
				return root
			}
			w.setRunning(nil)
			err = w.end(i)
		} else if !isCrash(err) {
			i.calls.Wait()
			i.cancel()
			w.note("engine", "not opened", err.Error())
			if w.calm.Load() {
				w.wrong("the engine can't be opened: %v", err)
				return root
			}
		} else {
			w.engines = append(w.engines, i)
		}
		if isCrash(err) {
			next := filepath.Join(w.dir, fmt.Sprint(len(w.engines)))
			w.must(w.inherit(i, next))
			root = next
		}
		time.Sleep(w.dice("downtime").between(10*time.Millisecond, 8*time.Second))
	}
}

// end sees to the end of an engine: errCrashed where it was killed.
func (w *world) end(i *incarnation) error {
	if i.isDead() {
		return errCrashed
	}
	err := i.close()
	w.note("engine", "closed", fmt.Sprint(err))
	return err
}

// judge compares what the engine says, now that nothing goes wrong any more,
// with what is so, has all removed, and looks for what is left.
func (w *world) judge(root string, readers []*reader) {
	now := w.now
	if now == nil {
		return
	}
	time.Sleep(5 * time.Minute)
	w.compareStates(now)
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
