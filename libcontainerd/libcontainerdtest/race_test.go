package libcontainerdtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// closings watches the CloseIO calls of a daemon: one for each process, after the call
// that made the process has returned.
type closings struct {
	*jitter
	mu     sync.Mutex
	made   map[string]bool // by container/process
	closed map[string]int
	wrong  []string
}

func watchClosings(tap *Tap, seed uint64) *closings {
	w := &closings{jitter: newJitter(seed, 2*time.Millisecond), made: map[string]bool{}, closed: map[string]int{}}
	w.jitter.tap(tap)
	before, after := tap.Before, tap.After
	tap.Before = func(ctx context.Context, c Call) error {
		if c.Op == "CloseIO" {
			w.closing(c)
		}
		return before(ctx, c)
	}
	tap.After = func(ctx context.Context, c Call, err error) error {
		if err == nil && c.Op == "CloseIO" {
			w.passed(c) // the process exits, and then the client doesn't wait for the answer
		}
		err = after(ctx, c, err)
		if err == nil && c.Op != "CloseIO" {
			w.passed(c)
		}
		return err
	}
	return w
}

func (w *closings) closing(c Call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if name := c.ContainerID + "/" + c.ProcessID; !w.made[name] || w.closed[name] > 0 {
		w.wrong = append(w.wrong,
			fmt.Sprintf("%s: made %v, closed %d times before", name, w.made[name], w.closed[name]))
	}
}

func (w *closings) passed(c Call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := c.ContainerID + "/" + c.ProcessID
	switch {
	case c.Op == "CreateTask", c.Op == "Start" && c.ProcessID != initProcess:
		w.made[name] = true
	case c.Op == "CloseIO":
		w.closed[name]++
	}
}

// check fails unless the daemon was called for each of n processes.
func (w *closings) check(t *testing.T, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, what := range w.wrong {
		t.Error(what)
	}
	if len(w.closed) != n {
		t.Errorf("the stdin of %d processes was closed, of %d", len(w.closed), n)
	}
}

// TestStdinLatch closes the stdin of 10,000 processes, each at a moment of its
// own around its start.
func TestStdinLatch(t *testing.T) {
	const bubbles, each = 40, 200
	for seed := range uint64(bubbles) {
		var w *closings
		bubble(t, func(tap *Tap) { w = watchClosings(tap, seed) }, func(e *env) {
			e.latchRaces(seed, each, 20)
			w.check(e.T, each)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestStdinLatchWhileDown does the same while the daemon goes down and comes back.
func TestStdinLatchWhileDown(t *testing.T) {
	const bubbles, each = 20, 100
	for seed := range uint64(bubbles) {
		var w *closings
		bubble(t, func(tap *Tap) { w = watchClosings(tap, seed) }, func(e *env) {
			e.latchesWhileDown(rand.New(rand.NewPCG(seed, 0)), each)
			w.check(e.T, each)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (e *env) latchesWhileDown(rng *rand.Rand, n int) {
	host := e.started("sleep 100000")
	for i := range n {
		e.exec(host, fmt.Sprintf("e%d", i), "cat; exit 8", libcontainerd.StdioConfig{Stdin: true})
	}
	var closers sync.WaitGroup
	for i := range n {
		at := time.Duration(1+rng.IntN(60)) * time.Second
		closers.Go(func() {
			<-time.After(at)
			if err := host.CloseStdin(fmt.Sprintf("e%d", i)); err != nil {
				e.Error(err)
			}
		})
	}
	for range 5 {
		<-time.After(time.Duration(1+rng.IntN(8)) * time.Second)
		e.Fake.SetDown(true)
		<-time.After(time.Duration(1+rng.IntN(8)) * time.Second)
		e.Fake.SetDown(false)
	}
	closers.Wait()
	for i := range n {
		e.exits(host, fmt.Sprintf("e%d", i), 8)
	}
}

// TestPairs runs two operations on a container at once, for every pair of operations and
// every status.
func TestPairs(t *testing.T) {
	const seeds = 6
	all := operations()
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 0))
		for _, in := range anywhere {
			var pairs []pair
			for i, first := range all {
				for _, second := range all[i:] {
					pairs = append(pairs, pair{in: in, callers: [2]operation{first, second},
						after: [2]time.Duration{1 + time.Duration(rng.IntN(5))*time.Millisecond,
							1 + time.Duration(rng.IntN(5))*time.Millisecond}})
				}
			}
			bubble(t, func(tap *Tap) { newJitter(seed, 3*time.Millisecond).tap(tap) },
				func(e *env) { e.tryAll(pairs, len(pairs)) })
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}
