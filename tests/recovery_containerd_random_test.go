package tests

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestContainerdRandomKills kills containerd, and sometimes the engine, at random moments
// while users use the engine. Afterwards each state must be true, and each run must have
// one exit event, in its place. A containerd that is killed while it starts a shim forgets
// the shim, which then runs on. So containerd is not killed at those moments.
func TestContainerdRandomKills(t *testing.T) {
	t.Parallel()
	eachContainerd(t, func(t *testing.T, release containerdRelease) {
		c := startContainerd(t, release)
		t.Cleanup(func() { noEngineState(t) })
		r := startRig(t, &rig{args: []string{"--containerd", c.address}})
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		stop := make(chan struct{})
		users := make([]*user, 3)
		var work sync.WaitGroup
		var creating sync.RWMutex
		for i := range users {
			u := &user{rig: r, t: t, rand: rand.New(rand.NewPCG(seed, uint64(i+1))), name: fmt.Sprint("u", i),
				runs: map[string]int{}, creating: creating.RLocker()}
			users[i] = u
			work.Go(func() { u.useContainers(stop) })
		}
		for n := range 8 {
			<-time.After(time.Duration(200+random.IntN(1200)) * time.Millisecond) // a random moment
			creating.Lock()
			c.kill(t)
			creating.Unlock()
			if n%3 == 2 {
				r.kill(t, r.enginePid())
			}
			c.start(t)
			if n%3 == 2 {
				if err := r.start(); err != nil {
					t.Fatal(err)
				}
			}
		}
		close(stop)
		work.Wait()
		codes := map[string]int{}
		for _, u := range users {
			for id, code := range u.runs {
				codes[id] = code
			}
		}
		r.checkContainers(t, codes)
	})
}
