// Package heap has a daemon that mostly rests take little memory meanwhile.
package heap

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// garbagePercent is how much garbage there may be to what is in use: half of
	// Go's default. Little is in use, and memory is dearer than the time.
	garbagePercent = 50
	// pause is how long after the last collection the heap rests.
	pause = 500 * time.Millisecond
)

// KeepSmall bounds the garbage, unless the environment's GOGC does, and gives memory back
// to the system whenever the heap has come to rest, until the caller ends that by what is
// returned.
func KeepSmall() (stop func()) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { release(ctx, pause, shrink) }) // ends with stop
	return func() {
		cancel()
		work.Wait()
	}
}

// shrink collects twice and gives memory back: pools keep what they have until the second
// time, and stacks shrink by half each time.
func shrink() {
	runtime.GC()
	debug.FreeOSMemory()
}

// release calls free, which collects, each time that no collection has come for some time
// after one or more; the first time for what was made before. What is in use after a burst
// is spread among its garbage, and Go's own collector keeps most of those pages. A heap that
// rests is not looked at: where nothing is allocated nothing is collected.
func release(ctx context.Context, pause time.Duration, free func()) {
	collected := make(chan struct{}, 1) // room for the only canary there is
	for settled(ctx, collected, pause) {
		free()
		if !await(ctx, collected) { // by free
			return
		}
		canary(collected)
		if !await(ctx, collected) { // by somebody else
			return
		}
	}
}

// settled returns when no collection has come for the pause, a canary being alive then, or
// false when ctx has ended.
func settled(ctx context.Context, collected chan struct{}, pause time.Duration) bool {
	for {
		canary(collected)
		resting, cancel := context.WithTimeout(ctx, pause)
		again := await(resting, collected)
		cancel()
		if !again {
			return ctx.Err() == nil
		}
	}
}

func await(ctx context.Context, collected <-chan struct{}) bool {
	select {
	case <-collected:
		return true
	case <-ctx.Done():
		return false
	}
}

// canary is told of on the channel when the heap is collected next.
func canary(collected chan<- struct{}) {
	bird := new([64]byte) // smaller ones share their place with others
	runtime.AddCleanup(bird, func(to chan<- struct{}) { to <- struct{}{} }, collected)
}
