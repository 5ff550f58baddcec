package remote

import (
	"context"
	"testing"
	"time"
)

func TestPauseLock(t *testing.T) {
	t.Parallel()
	var l pauseLocks
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	enter := func(id string, weight int64) func() {
		t.Helper()
		leave, err := l.enter(t.Context(), id, weight)
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	first, second := enter("a", 1), enter("a", 1)
	if _, err := l.enter(short(), "a", everyStart); err == nil {
		t.Fatal("a pause went on beside starts")
	}
	enter("b", everyStart)()
	first()
	second()
	pause := enter("a", everyStart)
	if _, err := l.enter(short(), "a", 1); err == nil {
		t.Fatal("a start went on beside a pause")
	}
	pause()
	enter("a", 1)()
	if len(l.byID) != 0 {
		t.Errorf("%d locks are left", len(l.byID))
	}
}
