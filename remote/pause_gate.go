package remote

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// pauseGates keep the pause of a task and the starts of its execs apart. A shim of containerd that starts an exec while the
// OCI runtime freezes the task waits for a process that is frozen, and so does whoever asked for the exec.
type pauseGates struct {
	mu   sync.Mutex
	byID map[string]*pauseGate
}

type pauseGate struct {
	all   *semaphore.Weighted
	users int // of this gate, under mu
}

// everyStart is the weight of a pause; a start has 1.
const everyStart = math.MaxInt64

// enter waits until a request of this weight may go on, or ctx ends, and returns what ends it.
func (g *pauseGates) enter(ctx context.Context, id string, weight int64) (leave func(), err error) {
	g.mu.Lock()
	if g.byID == nil {
		g.byID = map[string]*pauseGate{}
	}
	gate := g.byID[id]
	if gate == nil {
		gate = &pauseGate{all: semaphore.NewWeighted(everyStart)}
		g.byID[id] = gate
	}
	gate.users++
	g.mu.Unlock()
	if err := gate.all.Acquire(ctx, weight); err != nil {
		g.forget(id, gate)
		return nil, err
	}
	return func() {
		gate.all.Release(weight)
		g.forget(id, gate)
	}, nil
}

// forget removes the gate of a container that nobody uses any more.
func (g *pauseGates) forget(id string, gate *pauseGate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gate.users--; gate.users == 0 {
		delete(g.byID, id)
	}
}
