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
