package heap

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// TestRelease has memory released once for what was there, and once for each burst: its own
// collections are no reason for another.
func TestRelease(t *testing.T) {
	percent := debug.SetGCPercent(-1) // nobody else collects
	defer debug.SetGCPercent(percent)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	freed := make(chan struct{}, 100)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() {
		release(ctx, time.Millisecond, func() {
			runtime.GC()
			freed <- struct{}{}
		})
	})
	collections, releases := 0, 0
	for look := time.NewTicker(5 * time.Millisecond); releases < 10; {
		select {
		case <-freed:
			releases++
		case <-look.C: // it may have seen no more than its own collection yet
			runtime.GC()
			collections++
		case <-ctx.Done():
			t.Fatalf("%d releases after %d collections", releases, collections)
		}
	}
	cancel()
	work.Wait()
	if n := releases + len(freed); n > collections+1 {
		t.Errorf("%d releases after %d collections: its own count too", n, collections)
	}
}

// TestReleaseEnds ends it in each state.
func TestReleaseEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pause time.Duration
		free  func(cancel func())
	}{
		{"before it rests", time.Hour, nil},
		{"before it has seen its own collection", time.Nanosecond, func(cancel func()) { cancel() }},
		{"before somebody else's", time.Nanosecond, func(cancel func()) {
			runtime.GC()
			time.AfterFunc(10*time.Millisecond, cancel)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if tt.free == nil {
				cancel()
			}
			release(ctx, tt.pause, func() { tt.free(cancel) })
			if ctx.Err() != context.Canceled {
				t.Error("it didn't end")
			}
		})
	}
}

// TestKeepSmall gives back what a burst took: more than is kept for the next one.
func TestKeepSmall(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Fatal("GOGC is set, which this test is about")
	}
	percent := debug.SetGCPercent(100)
	defer debug.SetGCPercent(percent)
	stop := KeepSmall()
	defer stop()
	if got := debug.SetGCPercent(garbagePercent); got != garbagePercent {
		t.Errorf("%d %% of garbage", got)
	}
	const size = 64 << 20
	burst := make([]byte, size)
	for i := range burst {
		burst[i] = 1
	}
	var m runtime.MemStats
	look := time.NewTicker(2 * pause)
	defer look.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-look.C {
		runtime.ReadMemStats(&m)
		if m.HeapSys-m.HeapReleased < size/2 {
			return
		}
		runtime.GC() // what a daemon's next requests lead to
	}
	t.Fatalf("%d bytes are kept", m.HeapSys-m.HeapReleased)
}
