package background_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/background"
)

// With -race, this finds a Go that isn't ordered with a Wait. A sync.WaitGroup fails here.
func TestGoWhileWaiting(t *testing.T) {
	for range 200 {
		var g background.Goroutines
		var ran atomic.Bool
		begun := make(chan struct{})
		go func() {
			g.Go(func() { ran.Store(true) })
			close(begun)
		}()
		g.Wait()
		<-begun
		g.Wait()
		if !ran.Load() {
			t.Fatal("Wait returned before the goroutine's end")
		}
	}
}

func TestWaitForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g background.Goroutines
		var ended atomic.Int32
		for n := range 3 {
			g.Go(func() {
				time.Sleep(time.Duration(n) * time.Second)
				ended.Add(1)
			})
		}
		var waited atomic.Int32
		for range 2 {
			go func() {
				g.Wait()
				waited.Store(ended.Load())
			}()
		}
		g.Wait()
		synctest.Wait()
		if waited.Load() != 3 {
			t.Errorf("after Wait %d of 3 goroutines had ended", waited.Load())
		}
	})
}
