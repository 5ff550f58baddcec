//go:build !race

package simulation

import (
	"flag"
	"runtime"
	"strings"
	"testing"
)

var replayFlag = flag.Int("simulation.replays", 20, "how many seeds are run twice")

// TestReplay runs seeds twice: each decision, each message and its moment have
// to be the same. hack/simulate --replay, a phase of hack/test, keeps Go from
// interrupting goroutines meanwhile; the race detector has them run in random order,
// so there the same seed is another run.
func TestReplay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for seed := range uint64(*replayFlag) {
		p := plan{seed: 1_000_000 + seed, users: 6, lifecycles: 12, keepTrace: true}
		first, second := simulate(t, p, runDirectory(t)), simulate(t, p, runDirectory(t))
		if first.hash != second.hash {
			t.Errorf("seed %d: %s, and again %s:\n%s", p.seed, first.hash, second.hash,
				difference(first.trace, second.trace))
		}
	}
}

// difference shows where two traces part.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for n := range x {
		if n >= len(y) || x[n] != y[n] {
			from := max(0, n-15)
			return strings.Join(x[from:min(len(x), n+10)], "\n") + "\n\n" + strings.Join(y[from:min(len(y), n+10)],
				"\n")
		}
	}
	return "the second goes on after the first"
}
