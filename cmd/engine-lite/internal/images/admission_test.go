package images

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestKeyedAdmission(t *testing.T) {
	var k keyedAdmission
	var wg sync.WaitGroup
	inside := map[string]int{"a": 0, "b": 0}
	for _, key := range []string{"a", "b"} {
		n := new(int)
		for range 100 {
			wg.Go(func() {
				leave, err := k.enter(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				*n++ // the race detector sees it if two are inside
				leave()
			})
		}
		defer func() { inside[key] = *n }()
	}
	wg.Wait()
	if len(k.byKey) != 0 {
		t.Errorf("%d admissions are left", len(k.byKey))
	}
}

func TestKeyedAdmissionGivesUp(t *testing.T) {
	var k keyedAdmission
	leave, err := k.enter(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gaveUp := errors.New("gave up")
	cancel(gaveUp)
	if _, err := k.enter(ctx, "a"); !errors.Is(err, gaveUp) {
		t.Errorf("got %v", err)
	}
	leave()
	if len(k.byKey) != 0 {
		t.Errorf("%d admissions are left", len(k.byKey))
	}
}
