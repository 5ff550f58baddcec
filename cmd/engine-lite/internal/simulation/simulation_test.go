package simulation

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	log "github.com/sirupsen/logrus"
)

var (
	seedFlag       = flag.Uint64("simulation.seed", 0, "first seed")
	lifecyclesFlag = flag.Int("simulation.lifecycles", 2000, "how many lifecycles, of all seeds together")
	perSeedFlag    = flag.Int("simulation.each", 300, "how many lifecycles of each seed")
	usersFlag      = flag.Int("simulation.users", 10, "how many users act at once")
	traceFlag      = flag.Bool("simulation.trace", false, "print the trace")
)

func TestMain(m *testing.M) {
	log.SetLevel(log.PanicLevel) // what is logged of a million faults
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

func TestSimulation(t *testing.T) {
	begin := time.Now()
	total := map[string]int{}
	lifecycles, seed := 0, *seedFlag
	for ; lifecycles < *lifecyclesFlag; seed++ {
		r := simulate(t, plan{seed: seed, users: *usersFlag, lifecycles: *perSeedFlag, print: *traceFlag}, memoryDir(t))
		if *traceFlag {
			fmt.Print(r.trace)
			fmt.Println("hash", r.hash)
		}
		lifecycles += r.lifecycles
		for kind, n := range r.faults {
			total[kind] += n
		}
		for _, text := range r.broken {
			t.Errorf("seed %d, %s", seed, text)
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d lifecycles of seeds %d to %d, %.1f s", lifecycles, *seedFlag, seed-1, time.Since(begin).Seconds())
	for _, kind := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%8d  %s", total[kind], kind)
	}
}

// memoryDir is an empty directory in memory that goes with the test.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "elsim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestReplay runs seeds twice: each decision, each message and its moment have
// to be the same.
func TestReplay(t *testing.T) {
	const seeds = 200
	for seed := range uint64(seeds) {
		p := plan{seed: 1_000_000 + seed, users: 6, lifecycles: 12, print: true}
		first, second := simulate(t, p, memoryDir(t)), simulate(t, p, memoryDir(t))
		if first.hash != second.hash {
			t.Fatalf("seed %d: %s, and again %s:\n%s", p.seed, first.hash, second.hash, difference(first.trace, second.trace))
		}
	}
}

// difference shows where two traces part.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for n := range x {
		if n >= len(y) || x[n] != y[n] {
			from := max(0, n-15)
			return strings.Join(x[from:min(len(x), n+10)], "\n") + "\n\n" + strings.Join(y[from:min(len(y), n+10)], "\n")
		}
	}
	return "those two are the same"
}
