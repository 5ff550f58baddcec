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

// TestRelease: release calls free once at the start, and once after each burst of
// collections. Its own collections do not count.
func TestRelease(t *testing.T) {
	percent := debug.SetGCPercent(-1) // Go does not collect by itself
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
		case <-look.C: // release may have seen only its own collection yet
			runtime.GC()
			collections++
		case <-ctx.Done():
			t.Fatalf("%d releases after %d collections", releases, collections)
		}
	}
	cancel()
	work.Wait()
	if n := releases + len(freed); n > collections+1 {
		t.Errorf("%d releases after %d collections: those of release count too", n, collections)
	}
}

// TestReleaseEnds ends release in each of its states.
func TestReleaseEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pause time.Duration
		free  func(cancel func())
	}{
		{"before the heap is idle", time.Hour, nil},
		{"before it has seen its own collection", time.Nanosecond, func(cancel func()) { cancel() }},
		{"before another collection", time.Nanosecond, func(cancel func()) {
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

// TestKeepSmall returns the memory of a burst to the system, although the program goes on.
func TestKeepSmall(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Fatal("GOGC is set: the test needs it unset")
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
		runtime.GC() // as the next requests of a daemon cause
	}
	t.Fatalf("%d bytes are kept", m.HeapSys-m.HeapReleased)
}
