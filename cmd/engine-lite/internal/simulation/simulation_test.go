package simulation

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"testing"
	"time"

	log "github.com/sirupsen/logrus"
)

var (
	seedFlag       = flag.Uint64("simulation.seed", 0, "first seed")
	strideFlag     = flag.Uint64("simulation.stride", 1, "distance of a seed from the next")
	lifecyclesFlag = flag.Int("simulation.lifecycles", 3000,
		"how many lifecycles, of all seeds together; 1 is one seed")
	untilFlag = flag.Duration("simulation.for", 0, "how long, in place of a number of lifecycles")
	traceFlag = flag.Bool("simulation.trace", false, "print all that happened")
)

// The size of the run of one seed. A seed repeats a run only with the same sizes.
const (
	users   = 10
	perSeed = 300 // lifecycles
)

func TestMain(m *testing.M) {
	log.SetLevel(log.PanicLevel) // else each fault logs a line
	log.SetOutput(io.Discard)
	debug.SetGCPercent(400)
	if err := removeOldRuns(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestSimulation runs seeds until there were enough lifecycles, or enough time
// has passed, or one fails. Each kind of fault has to have happened.
func TestSimulation(t *testing.T) {
	begin, total := time.Now(), map[string]int{}
	lifecycles, seed := 0, *seedFlag
	for ; !t.Failed(); seed += *strideFlag {
		r := simulate(t, plan{seed: seed, users: users, lifecycles: perSeed, keepTrace: *traceFlag}, runDirectory(t))
		for kind, n := range r.faults {
			total[kind] += n
		}
		if *traceFlag {
			fmt.Print(r.trace)
		}
		for _, text := range r.violations {
			t.Errorf("seed %d, %s", seed, text)
		}
		if t.Failed() {
			t.Logf("found by seed %d, after %d lifecycles; again, with all that happened: hack/simulate --seed %d",
				seed, lifecycles+r.first, seed)
		}
		lifecycles += r.lifecycles
		if enough(lifecycles, time.Since(begin)) {
			break
		}
	}
	fmt.Printf("simulated %d lifecycles, seeds %d to %d by %d, in %.1f s\n", lifecycles, *seedFlag, seed, *strideFlag,
		time.Since(begin).Seconds())
	for _, kind := range kinds {
		fmt.Printf("fault %8d %s\n", total[kind], kind)
		if total[kind] == 0 && lifecycles >= 1000 && !t.Failed() {
			t.Errorf("there never was: %s", kind)
		}
	}
}

func enough(lifecycles int, passed time.Duration) bool {
	if *untilFlag > 0 {
		return passed >= *untilFlag
	}
	return lifecycles >= *lifecyclesFlag
}
