package resources

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Set is all providers of an engine. Providers take in the order of the set, and give back in the other order.
type Set struct {
	providers []Provider
	patience  time.Duration

	mu   sync.Mutex
	held map[Holder]*freeing
}

// freeing is a Free that goes on or has failed.
type freeing struct {
	kind string // of the provider that is asked
	done chan struct{}
	err  error // when it is done
}

// NewSet returns a set. patience bounds how long Free waits for the providers.
func NewSet(patience time.Duration, providers ...Provider) *Set {
	return &Set{providers: providers, patience: patience, held: map[Holder]*freeing{}}
}

// Reserve has all providers reserve: see [Provider].
func (s *Set) Reserve(tx *store.Tx, r *record.Record) error { return s.each(tx, r, Provider.Reserve) }

// Forget has all providers forget: see [Provider].
func (s *Set) Forget(tx *store.Tx, r *record.Record) error { return s.each(tx, r, Provider.Forget) }

// Forgotten has all providers remove what they forgot: see [Provider].
func (s *Set) Forgotten(ctx context.Context, r *record.Record) error {
	var errs []error
	for _, p := range s.providers {
		errs = append(errs, labelled(p, p.Forgotten(ctx, r)))
	}
	return errors.Join(errs...)
}

// Started appends the events of a start: see [Provider].
func (s *Set) Started(tx *store.Tx, r *record.Record) error { return s.each(tx, r, Provider.Started) }

// Ended appends the events of an exit: see [Provider].
func (s *Set) Ended(tx *store.Tx, r *record.Record) error { return s.each(tx, r, Provider.Ended) }

func (s *Set) each(tx *store.Tx, r *record.Record, call func(Provider, *store.Tx, *record.Record) error) error {
	for _, p := range s.providers {
		if err := call(p, tx, r); err != nil {
			return err
		}
	}
	return nil
}

// Acquire takes the resources of all providers. After an error, nothing is taken: what was taken before is freed and
// disposed of. What an earlier holder of the container has not given back is freed first; the error is Unavailable where
// that fails.
func (s *Set) Acquire(ctx context.Context, r *record.Record, h Holder) (Contribution, error) {
	for _, held := range s.Held() {
		if held.Holder.Container != h.Container {
			continue
		}
		if err := s.Free(ctx, held.Holder); err != nil {
			return Contribution{}, classed.Errorf(errdefs.ErrUnavailable,
				"container %s has not given back its %s after an earlier run: %v", h.Container, held.Kind, err)
		}
	}
	all := Contribution{Sources: map[string]string{}}
	for i, p := range s.providers {
		c, err := p.Acquire(ctx, r, h)
		if err != nil {
			return Contribution{}, errors.Join(err, s.giveBack(context.WithoutCancel(ctx), s.providers[:i], h))
		}
		maps.Copy(all.Sources, c.Sources)
		all.Namespaces = append(all.Namespaces, c.Namespaces...)
	}
	return all, nil
}

// giveBack frees and disposes of what these providers have given to a holder.
func (s *Set) giveBack(ctx context.Context, providers []Provider, h Holder) error {
	var errs []error
	for _, p := range slices.Backward(providers) {
		errs = append(errs, labelled(p, p.Free(ctx, h)), labelled(p, p.Dispose(ctx, h)))
	}
	return errors.Join(errs...)
}

func labelled(p Provider, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", p.Kind(), err)
}

// Free has all providers free what a holder has, for others to take. It waits for the set's patience at most. A Free that
// takes longer goes on; the error is Unavailable then. A further call for the same holder waits for the one that goes on,
// or tries again after one that failed.
func (s *Set) Free(ctx context.Context, h Holder) error {
	if len(s.providers) == 0 {
		return nil
	}
	s.mu.Lock()
	f := s.held[h]
	if f == nil || f.err != nil {
		f = &freeing{done: make(chan struct{})}
		s.held[h] = f
		// The goroutine ends when the last provider has answered. Nobody waits longer for a kernel call that hangs.
		go s.free(context.WithoutCancel(ctx), f, h)
	}
	s.mu.Unlock()
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	select {
	case <-f.done:
	case <-patience.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	default:
		return classed.Errorf(errdefs.ErrUnavailable, "the %s are not given back yet; this goes on", f.kind)
	}
}

func (s *Set) free(ctx context.Context, f *freeing, h Holder) {
	var errs []error
	for _, p := range slices.Backward(s.providers) {
		s.mu.Lock()
		f.kind = p.Kind()
		s.mu.Unlock()
		if err := p.Free(ctx, h); err != nil {
			errs = append(errs, labelled(p, err))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.err = errors.Join(errs...); f.err == nil {
		delete(s.held, h)
	}
	close(f.done)
}

// Held is what a holder has not given back although its run has ended.
type Held struct {
	Holder Holder
	// Kind is that of the provider that was asked last.
	Kind string
}

// Held lists the holders whose Free goes on or has failed.
func (s *Set) Held() []Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Held, 0, len(s.held))
	for _, h := range slices.SortedFunc(maps.Keys(s.held), compareHolders) {
		list = append(list, Held{h, s.held[h].kind})
	}
	return list
}

func compareHolders(a, b Holder) int { return strings.Compare(a.String(), b.String()) }

// Dispose has all providers remove what is left of a holder.
func (s *Set) Dispose(ctx context.Context, h Holder) error {
	var errs []error
	for _, p := range slices.Backward(s.providers) {
		errs = append(errs, labelled(p, p.Dispose(ctx, h)))
	}
	return errors.Join(errs...)
}

// Adopt has all providers take up a run: see [Provider].
func (s *Set) Adopt(ctx context.Context, r *record.Record, h Holder) error {
	var errs []error
	for _, p := range s.providers {
		errs = append(errs, labelled(p, p.Adopt(ctx, r, h)))
	}
	return errors.Join(errs...)
}

// Sweep has all providers give back what holders have that are not alive: see [Provider].
func (s *Set) Sweep(ctx context.Context, alive func(Holder) bool) error {
	var errs []error
	for _, p := range slices.Backward(s.providers) {
		errs = append(errs, labelled(p, p.Sweep(ctx, alive)))
	}
	return errors.Join(errs...)
}
