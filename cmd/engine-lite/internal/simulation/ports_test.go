package simulation

import (
	"context"
	"maps"
	"slices"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
)

// portsTap is a network of one engine, on the ports of the host: slow, failing, and at its end with the engine's. Each
// container has a port of its own.
type portsTap struct {
	resources.Provider
	inc *engineInstance
}

func (p portsTap) Acquire(ctx context.Context, r *record.Record, h resources.Holder) (resources.Contribution, error) {
	if err := p.inc.step(ctx, "take ports", h.Container); err != nil {
		return resources.Contribution{}, err
	}
	return p.Provider.Acquire(ctx, r, h)
}

func (p portsTap) Free(ctx context.Context, h resources.Holder) error {
	if err := p.inc.step(ctx, "give ports back", h.Container); err != nil {
		p.inc.w.getsStuck(h)
		return err
	}
	return p.Provider.Free(ctx, h)
}

func (p portsTap) Sweep(ctx context.Context, alive func(resources.Holder) bool) error {
	if p.inc.isKilled() {
		return p.inc.block()
	}
	return p.Provider.Sweep(ctx, alive)
}

func (w *world) getsStuck(h resources.Holder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck[h] = true
}

// portsAfter checks that a run whose exit is told has given back its ports, unless a fault has kept it from that.
func (w *world) portsAfter(ev eventstream.Event) {
	h := resources.Run(ev.Actor.ID, ev.Generation)
	w.mu.Lock()
	stuck := w.stuck[h]
	w.mu.Unlock()
	if ev.Action == "die" && !stuck && w.ports.Holders()[h.String()] > 0 {
		w.violation("the exit of %s was told before its ports were free", h)
	}
}

// checkPorts checks that the runs that go on have their ports, and nobody else has any.
func (w *world) checkPorts(runs []string) {
	slices.Sort(runs)
	if have := slices.Sorted(maps.Keys(w.ports.Holders())); !slices.Equal(have, runs) {
		w.violation("%q have ports, and %q run", have, runs)
	}
}
