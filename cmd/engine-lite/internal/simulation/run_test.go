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
)

// result is the outcome of a run.
type result struct {
	violations []string // of what the engine promises
	first      int      // lifecycles before the first violation
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
		r = result{w.violations, w.first, w.model.lifecycles(), w.trace.hash(), "", w.faults}
		if p.keepTrace {
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
	ctx, stopFaults := context.WithCancel(context.Background())
	var causing sync.WaitGroup
	causing.Go(func() { w.causeFaults(ctx) })
	for n := range w.plan.users {
		u := &user{w: w, name: fmt.Sprintf("user%d", n),
			lifecycles: (w.plan.lifecycles + w.plan.users - 1) / w.plan.users}
		w.acting.Go(u.run)
	}
	readers := []*reader{{w: w, name: "fast"}, {w: w, name: "slow", slow: true}}
	var reading sync.WaitGroup
	readUntil, endReading := context.WithCancel(context.Background())
	for _, r := range readers {
		reading.Go(func() { r.run(readUntil) })
	}
	acted := make(chan struct{})
	go func() {
		w.acting.Wait()
		stopFaults()
		causing.Wait()
		w.noFaults.Store(true)
		w.daemon.SetDown(false)
		close(acted)
	}()
	root := w.keepOpen(filepath.Join(w.dir, "0"), acted)
	w.checkEnd(root, readers)
	endReading()
	for _, i := range w.engines {
		if i.isKilled() {
			i.joinAll()
		}
	}
	reading.Wait()
	w.daemon.Close()
	w.must(null.Close())
}

func (w *world) must(err error) {
	if err != nil {
		w.violation("%v", err)
	}
}

// keepOpen opens an engine, and the next one after its end, until done is closed and an
// engine is open. That engine is w.now. It returns the engine's root directory.
func (w *world) keepOpen(root string, done <-chan struct{}) string {
	w.must(os.MkdirAll(root, 0o700))
	for {
		i := w.newEngineInstance(root)
		err := i.open()
		if err == nil {
			w.engines = append(w.engines, i)
			w.setRunning(i)
			w.note("engine", "opened", filepath.Base(root))
			select {
			case <-i.crashed:
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
			if w.noFaults.Load() {
				w.violation("the engine can't be opened: %v", err)
				return root
			}
		} else {
			w.engines = append(w.engines, i)
		}
		if isCrash(err) {
			next := filepath.Join(w.dir, fmt.Sprint(len(w.engines)))
			w.must(w.copyRoot(i, next))
			root = next
		}
		time.Sleep(w.dice("downtime").between(10*time.Millisecond, 8*time.Second))
	}
}

// end closes an engine after its users were stopped. It returns errCrashed if the engine
// was killed.
func (w *world) end(i *engineInstance) error {
	if i.isKilled() {
		return errCrashed
	}
	err := i.close()
	w.note("engine", "closed", fmt.Sprint(err))
	return err
}
