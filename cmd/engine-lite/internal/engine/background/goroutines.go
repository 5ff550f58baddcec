package background

import "sync"

// Goroutines are goroutines that are waited for. The zero value is ready. Unlike with a sync.WaitGroup, the first one
// may begin while somebody waits: a request can be under way when the engine's end begins.
type Goroutines struct {
	mu      sync.Mutex
	running int
	none    chan struct{} // closed when none runs; nil while nobody waits
}

// Go runs fn in a goroutine.
func (g *Goroutines) Go(fn func()) {
	g.mu.Lock()
	g.running++
	g.mu.Unlock()
	go func() {
		defer g.done()
		fn()
	}()
}

func (g *Goroutines) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	if g.running == 0 && g.none != nil {
		close(g.none)
		g.none = nil
	}
}

// Wait returns when none of the goroutines runs.
func (g *Goroutines) Wait() {
	g.mu.Lock()
	if g.running == 0 {
		g.mu.Unlock()
		return
	}
	if g.none == nil {
		g.none = make(chan struct{})
	}
	none := g.none
	g.mu.Unlock()
	<-none
}
