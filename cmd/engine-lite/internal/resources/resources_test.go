package resources_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources/resourcestest"
)

func container(name, ports string) *record.Record {
	return &record.Record{ID: name, Config: &record.Config{Labels: map[string]string{"ports": ports}}}
}

func TestContract(t *testing.T) {
	resourcestest.Run(t, func(t *testing.T) resourcestest.Harness {
		k := resourcestest.NewKernel()
		other := &resourcestest.Network{Kernel: k}
		return resourcestest.Harness{
			Open: func(*testing.T) resources.Provider { return &resourcestest.Network{Kernel: k} },
			Record: func(_ *testing.T, name string) *record.Record {
				return container(name, map[string]string{"a": "80,81", "lives": "82", "dead": "83,84"}[name])
			},
			Refused: func(t *testing.T) *record.Record {
				h := resources.Run("other", 1)
				if _, err := other.Acquire(t.Context(), container("other", "90"), h); err != nil {
					t.Fatal(err)
				}
				return container("refused", "89,90")
			},
			Held: func(*testing.T) map[string]int {
				held := k.Holders()
				delete(held, "other.1")
				return held
			},
		}
	})
}

func TestHolders(t *testing.T) {
	for _, h := range []resources.Holder{resources.Run("abc", 1), resources.Run("abc", 1<<40), {Container: "abc", Lease: "cp-7"}} {
		if got, ok := resources.ParseHolder(h.String()); !ok || got != h {
			t.Errorf("%v is read as %v, %t", h, got, ok)
		}
	}
	for _, s := range []string{"", "abc", "abc.", ".1", "abc.0", "abc.01", "abc.-1", "abc.lease.", "abc.lease.a.b", "abc.1.2", "abc.+1"} {
		if h, ok := resources.ParseHolder(s); ok {
			t.Errorf("%q is read as %v", s, h)
		}
	}
}

// failing is a provider that refuses.
type failing struct{ resourcestest.Network }

func (f *failing) Acquire(context.Context, *record.Record, resources.Holder) (resources.Contribution, error) {
	return resources.Contribution{}, errors.New("refused")
}

// TestAcquireFails has the second of two providers refuse: the first one has given back all.
func TestAcquireFails(t *testing.T) {
	k := resourcestest.NewKernel()
	freed := 0
	first := &resourcestest.Network{Kernel: k, BeforeFree: func(resources.Holder) { freed++ }}
	s := resources.NewSet(time.Second, first, &failing{resourcestest.Network{Kernel: k}})
	if _, err := s.Acquire(t.Context(), container("a", "80"), resources.Run("a", 1)); err == nil {
		t.Error("Acquire did not fail")
	}
	if n := k.Holders(); len(n) != 0 || freed != 1 {
		t.Errorf("%v hold something, %d calls of Free", n, freed)
	}
}

// TestFreeHangs has a Free that hangs: the caller goes on after the bound, the holder is listed, the container's next run
// is refused with the reason, and all is well when Free has ended.
func TestFreeHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := resourcestest.NewKernel()
		hang := make(chan struct{})
		var calls atomic.Int64
		s := resources.NewSet(time.Second, &resourcestest.Network{Kernel: k, BeforeFree: func(resources.Holder) {
			calls.Add(1)
			<-hang
		}})
		r, first, second := container("a", "80"), resources.Run("a", 1), resources.Run("a", 2)
		acquire := func(r *record.Record, h resources.Holder) error {
			_, err := s.Acquire(t.Context(), r, h)
			return err
		}
		if err := acquire(r, first); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 2 { // the second call waits for the first one's work
			if err := s.Free(t.Context(), first); !errdefs.IsUnavailable(err) {
				t.Errorf("Free: %v", err)
			}
		}
		if took := time.Since(began); took != 2*time.Second || calls.Load() != 1 {
			t.Errorf("two calls took %s, and %d of the provider", took, calls.Load())
		}
		if got := s.Held(); !slices.Equal(got, []resources.Held{{Holder: first, Kind: "ports"}}) {
			t.Errorf("held: %v", got)
		}
		if err := acquire(r, second); !errdefs.IsUnavailable(err) {
			t.Errorf("the next run: %v", err)
		}
		if err := acquire(container("b", "80"), resources.Run("b", 1)); !errdefs.IsConflict(err) {
			t.Errorf("another container: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Free(ctx, first); !errdefs.IsUnavailable(err) {
			t.Errorf("Free whose caller is gone: %v", err)
		}
		close(hang)
		synctest.Wait()
		if got := s.Held(); len(got) != 0 {
			t.Errorf("held: %v", got)
		}
		if err := acquire(r, second); err != nil {
			t.Error(err)
		}
	})
}
