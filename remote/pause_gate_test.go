package remote

import (
	"context"
	"testing"
	"time"
)

func TestPauseGate(t *testing.T) {
	t.Parallel()
	var g pauseGates
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	enter := func(id string, weight int64) func() {
		t.Helper()
		leave, err := g.enter(t.Context(), id, weight)
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	first, second := enter("a", 1), enter("a", 1)
	if _, err := g.enter(short(), "a", everyStart); err == nil {
		t.Fatal("a pause went on beside starts")
	}
	enter("b", everyStart)()
	first()
	second()
	pause := enter("a", everyStart)
	if _, err := g.enter(short(), "a", 1); err == nil {
		t.Fatal("a start went on beside a pause")
	}
	pause()
	enter("a", 1)()
	if len(g.byID) != 0 {
		t.Errorf("%d gates are left", len(g.byID))
	}
}
