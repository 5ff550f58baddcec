// Package resourcestest has the contract of a resources.Provider, and a network in memory that keeps it.
package resourcestest

import (
	"maps"
	"slices"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
)

// Harness is a provider under test, with what is around it.
type Harness struct {
	// Open returns a provider that knows nothing but what the kernel and the store have, as after a crash of the engine.
	Open func(t *testing.T) resources.Provider
	// Record returns the record of a container that wants resources. Containers of different names can have theirs at
	// the same time.
	Record func(t *testing.T, name string) *record.Record
	// Refused returns the record of a container whose Acquire fails in its middle.
	Refused func(t *testing.T) *record.Record
	// Held lists, by holder, what the kernel has.
	Held func(t *testing.T) map[string]int
}

// Run checks the contract. The names of the subtests say what holds.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for name, check := range map[string]func(*testing.T, Harness){
		"what a run takes, it gives back":             takesAndGives,
		"a late free leaves the next run alone":       lateFree,
		"a failed acquire leaves nothing":             failedAcquire,
		"a free of nothing and a second one do well":  freeTwice,
		"a sweep after a crash takes the dead only":   sweep,
		"an adopted run gives back what it had taken": adopt,
		"a lease stands beside a run":                 lease,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func acquire(t *testing.T, p resources.Provider, r *record.Record, h resources.Holder) {
	t.Helper()
	_, err := p.Acquire(t.Context(), r, h)
	must(t, err)
}

func giveBack(t *testing.T, p resources.Provider, h resources.Holder) {
	t.Helper()
	must(t, p.Free(t.Context(), h))
	must(t, p.Dispose(t.Context(), h))
}

// holders checks who holds something.
func (h Harness) holders(t *testing.T, want ...resources.Holder) {
	t.Helper()
	var names []string
	for _, w := range want {
		names = append(names, w.String())
	}
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(h.Held(t))); !slices.Equal(got, names) {
		t.Errorf("%q hold something, not %q", got, names)
	}
}

func takesAndGives(t *testing.T, h Harness) {
	p, r := h.Open(t), h.Record(t, "a")
	run := resources.Run(r.ID, 1)
	h.holders(t)
	acquire(t, p, r, run)
	h.holders(t, run)
	giveBack(t, p, run)
	h.holders(t)
	acquire(t, p, r, resources.Run(r.ID, 2))
	giveBack(t, p, resources.Run(r.ID, 2))
	h.holders(t)
}

func lateFree(t *testing.T, h Harness) {
	p, r := h.Open(t), h.Record(t, "a")
	first, second := resources.Run(r.ID, 1), resources.Run(r.ID, 2)
	acquire(t, p, r, first)
	giveBack(t, p, first)
	acquire(t, p, r, second)
	giveBack(t, p, first)
	h.holders(t, second)
	giveBack(t, p, second)
	h.holders(t)
}

func failedAcquire(t *testing.T, h Harness) {
	p, r := h.Open(t), h.Refused(t)
	if _, err := p.Acquire(t.Context(), r, resources.Run(r.ID, 1)); err == nil {
		t.Fatal("Acquire did not fail")
	}
	h.holders(t)
}

func freeTwice(t *testing.T, h Harness) {
	p, r := h.Open(t), h.Record(t, "a")
	run := resources.Run(r.ID, 1)
	giveBack(t, p, run)
	acquire(t, p, r, run)
	giveBack(t, p, run)
	giveBack(t, p, run)
	h.holders(t)
}

func sweep(t *testing.T, h Harness) {
	p, lives, dead := h.Open(t), h.Record(t, "lives"), h.Record(t, "dead")
	alive := resources.Run(lives.ID, 3)
	acquire(t, p, lives, alive)
	acquire(t, p, dead, resources.Run(dead.ID, 1))
	p = h.Open(t)
	must(t, p.Adopt(t.Context(), lives, alive))
	must(t, p.Sweep(t.Context(), func(h resources.Holder) bool { return h == alive }))
	h.holders(t, alive)
	giveBack(t, p, alive)
	h.holders(t)
}

func adopt(t *testing.T, h Harness) {
	p, r := h.Open(t), h.Record(t, "a")
	run := resources.Run(r.ID, 1)
	acquire(t, p, r, run)
	p = h.Open(t)
	must(t, p.Adopt(t.Context(), r, run))
	giveBack(t, p, run)
	h.holders(t)
}

func lease(t *testing.T, h Harness) {
	p, r := h.Open(t), h.Record(t, "a")
	run, copying := resources.Run(r.ID, 1), resources.Holder{Container: r.ID, Lease: "cp-1"}
	acquire(t, p, r, copying) // of a network, a lease may take nothing
	acquire(t, p, r, run)
	giveBack(t, p, copying)
	h.holders(t, run)
	giveBack(t, p, run)
	h.holders(t)
}
