package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/engine-lite/engine-lite/queue"
)

// An action is what the handler of an item does.
type action int

const (
	returns action = iota
	blocks         // until the item's unblock is closed
	panics
	exits
	appendsOwn  // an item that returns, to its own key
	appendsSink // the same to the key sink, which gets such items only
	actions     // how many there are
)

const (
	modelKeys = 6
	sink      = modelKeys
)

type modelItem struct {
	action  action
	unblock chan struct{}
	open    bool // the unblock is closed
}

// A modelWait is a call that waits. By the model it returns once done[key] has reached until[key].
type modelWait struct {
	name   string
	until  [modelKeys + 1]int
	cancel context.CancelFunc
	result func() (error, bool)
}

// A model says what a queue must have done once nothing in it can move any more.
type model struct {
	lines   [modelKeys + 1][]*modelItem
	started [modelKeys + 1]int
	done    [modelKeys + 1]int
	waits   []*modelWait
	closed  bool
}

// settle handles whatever can be handled. Only keys that an operation has just changed can have anything.
func (m *model) settle() {
	for key := range m.lines {
		for m.done[key] < len(m.lines[key]) {
			item := m.lines[key][m.done[key]]
			if m.started[key] == m.done[key] {
				m.started[key]++
				switch {
				case m.closed:
				case item.action == appendsOwn:
					m.lines[key] = append(m.lines[key], &modelItem{})
				case item.action == appendsSink:
					m.lines[sink] = append(m.lines[sink], &modelItem{})
				}
			}
			if item.action == blocks && !item.open {
				break
			}
			m.done[key]++
		}
	}
}

// A modelRun drives a queue and its model by the same random operations.
type modelRun struct {
	*testing.T
	random *rand.Rand
	model  model
	queue  *queue.Queue[int, *modelItem]

	mu      sync.Mutex
	handled [modelKeys + 1][]*modelItem
}

func (r *modelRun) handle(key int, item *modelItem) {
	r.mu.Lock()
	r.handled[key] = append(r.handled[key], item)
	r.mu.Unlock()
	var err error
	switch item.action {
	case blocks:
		<-item.unblock
	case panics:
		panic("as the model wants it")
	case exits:
		runtime.Goexit()
	case appendsOwn:
		err = r.queue.Append(key, &modelItem{})
	case appendsSink:
		err = r.queue.Append(sink, &modelItem{})
	case returns, actions:
	}
	if err != nil && !r.model.closed {
		r.Error(err)
	}
}

func (r *modelRun) append() {
	key := r.random.IntN(modelKeys)
	item := &modelItem{action: action(r.random.IntN(int(actions))), unblock: make(chan struct{})}
	if err := r.queue.Append(key, item); err != nil {
		r.Error(err)
	}
	r.model.lines[key] = append(r.model.lines[key], item)
}

// release opens the unblock of the item at which a random key stands, or of one that has not begun yet.
func (r *modelRun) release() {
	key := r.random.IntN(modelKeys)
	open := r.model.lines[key][r.model.done[key]:]
	if len(open) == 0 {
		return
	}
	item := open[r.random.IntN(min(len(open), 3))]
	if item.action == blocks && !item.open {
		item.open = true
		close(item.unblock)
	}
}

// wait begins a Drain, or a DrainKey of a random key.
func (r *modelRun) wait() {
	ctx, cancel := context.WithCancel(context.Background())
	w := &modelWait{cancel: cancel}
	if key := r.random.IntN(2 * modelKeys); key < modelKeys {
		w.name = fmt.Sprintf("DrainKey(%d)", key)
		w.until[key] = len(r.model.lines[key])
		w.result = begin(func() error { return r.queue.DrainKey(ctx, key) })
	} else {
		w.name = "Drain"
		for key, line := range r.model.lines {
			w.until[key] = len(line)
		}
		w.result = begin(func() error { return r.queue.Drain(ctx) })
	}
	r.model.waits = append(r.model.waits, w)
}

// cancel ends one of the calls that wait.
func (r *modelRun) cancel() {
	if len(r.model.waits) == 0 {
		return
	}
	i := r.random.IntN(len(r.model.waits))
	w := r.model.waits[i]
	w.cancel()
	expectDone(r.T, w.name, w.result, context.Canceled)
	r.model.waits = slices.Delete(r.model.waits, i, i+1)
}

// check compares the queue with the model when nothing moves any more.
func (r *modelRun) check() {
	synctest.Wait()
	r.model.settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, handled := range r.handled {
		if len(handled) != r.model.started[key] {
			r.Fatalf("key %d: %d handlers started, want %d", key, len(handled), r.model.started[key])
		}
		for i, item := range r.model.lines[key][:r.model.started[key]] {
			if item.unblock != nil && item != handled[i] {
				r.Fatalf("key %d: wrong item at %d", key, i)
			}
		}
	}
	r.model.waits = slices.DeleteFunc(r.model.waits, func(w *modelWait) bool {
		done := true
		for key, until := range w.until {
			done = done && r.model.done[key] >= until
		}
		if done {
			expectDone(r.T, w.name, w.result, nil)
			w.cancel()
		} else {
			expectWaiting(r.T, w.name, w.result)
		}
		return done
	})
}

// finish closes the queue while items wait, then lets them go.
func (r *modelRun) finish() {
	r.model.closed = true
	result := begin(func() error { return r.queue.Close(r.Context()) })
	open := false
	for key, line := range r.model.lines {
		open = open || r.model.done[key] < len(line)
	}
	if open {
		expectWaiting(r.T, "Close", result)
	}
	for _, line := range r.model.lines {
		for _, item := range line {
			if item.action == blocks && !item.open {
				item.open = true
				close(item.unblock)
				r.check()
			}
		}
	}
	expectDone(r.T, "Close", result, nil)
}

func TestRandomOperations(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			r := &modelRun{T: t, random: rand.New(rand.NewPCG(seed, 0))}
			r.queue = queue.New(r.handle, func(int, *modelItem, any, []byte) {})
			for range 200 {
				switch n := r.random.IntN(100); {
				case n < 45:
					r.append()
				case n < 75:
					r.release()
				case n < 90:
					r.wait()
				case n < 96:
					r.cancel()
				default: // nothing may depend on time
					time.Sleep(time.Second)
				}
				r.check()
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			r.finish()
		})
	}
}
