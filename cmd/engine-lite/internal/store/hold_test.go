package store

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestDeliveryHold(t *testing.T) {
	h := newDeliveryHold()
	h.hold(5) // by an Update that failed
	h.hold(5) // by the Update that got the number next
	h.release(5)
	passed := make(chan error, 1)
	go func() { passed <- h.await(t.Context(), 5) }()
	if err := h.await(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-passed:
		t.Fatalf("delivered while held: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.await(ctx, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	h.release(5)
	if err := <-passed; err != nil {
		t.Fatal(err)
	}
	h.release(6) // never held
	if err := h.await(t.Context(), 6); err != nil || h.count() != 0 {
		t.Errorf("%v, %d are held", err, h.count())
	}
}
