package images

import (
	"context"
	"sync"
)

// gate lets one holder through at a time. Unlike a mutex it may be held over
// I/O: whoever waits for it can give up.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

// enter waits for the gate and returns what leaves it, or ctx's error.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// keyedGate is a gate per key; keys that nobody holds or waits for take no
// memory. The zero value is ready.
type keyedGate struct {
	mu    sync.Mutex
	gates map[string]*sharedGate
}

type sharedGate struct {
	gate
	users int
}

// enter waits for the key's gate and returns what leaves it, or ctx's error.
func (k *keyedGate) enter(ctx context.Context, key string) (leave func(), err error) {
	g := k.join(key)
	out, err := g.enter(ctx)
	if err != nil {
		k.part(key, g)
		return nil, err
	}
	return func() { out(); k.part(key, g) }, nil
}

func (k *keyedGate) join(key string) *sharedGate {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.gates[key]
	if g == nil {
		if k.gates == nil {
			k.gates = make(map[string]*sharedGate)
		}
		g = &sharedGate{gate: newGate()}
		k.gates[key] = g
	}
	g.users++
	return g
}

func (k *keyedGate) part(key string, g *sharedGate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if g.users--; g.users == 0 {
		delete(k.gates, key)
	}
}
