package await

import (
	"context"
	"errors"
	"testing"
)

func TestClosed(t *testing.T) {
	done, never := make(chan struct{}), make(chan struct{})
	close(done)
	over, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	for range 100 { // select chooses at random
		if err := Closed(over, done); err != nil {
			t.Fatalf("a result, and a context that has ended: %v", err)
		}
	}
	if err := Closed(t.Context(), done); err != nil {
		t.Error(err)
	}
	if err := Closed(over, never); !errors.Is(err, why) {
		t.Errorf("no result: %v", err)
	}
}
