// Package background is what goes on in an engine without a caller. All of it ends with the engine.
package background

import "context"

// Group is the goroutines that end with an engine. Its methods may be called from any goroutine.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc
	all    Goroutines
}

// New returns a group that lives until Stop.
func New() *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Context is done when the engine ends: Stop ends it.
func (g *Group) Context() context.Context { return g.ctx }

// Ended tells whether the engine goes down.
func (g *Group) Ended() bool { return g.ctx.Err() != nil }

// Go runs fn in a goroutine that Wait waits for. fn has to end when the group's context does.
func (g *Group) Go(fn func()) { g.all.Go(fn) }

// Outlive returns a context for what goes on when its caller has gone: it has ctx's values and ends with the engine
// only. The function frees it.
func (g *Group) Outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(g.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Stop ends the context.
func (g *Group) Stop() { g.cancel() }

// Wait waits for all goroutines.
func (g *Group) Wait() { g.all.Wait() }
