package images

import (
	"context"
	"sync"
)

// admission lets one holder in at a time. Unlike a mutex it may be held over I/O, and
// a caller that waits can give up.
type admission chan struct{}

func newAdmission() admission { return make(admission, 1) }

// enter waits until nobody is in. It returns the function that leaves, or ctx's cause.
func (a admission) enter(ctx context.Context) (leave func(), err error) {
	select {
	case a <- struct{}{}:
		return func() { <-a }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// keyedAdmission is an admission for each key. A key that nobody holds or waits for
// takes no memory. The zero value is ready.
type keyedAdmission struct {
	mu    sync.Mutex
	byKey map[string]*countedAdmission
}

type countedAdmission struct {
	admission
	users int // that hold it or wait for it
}

// enter waits until nobody is in with the key. It returns the function that leaves, or
// ctx's cause.
func (k *keyedAdmission) enter(ctx context.Context, key string) (leave func(), err error) {
	a := k.join(key)
	out, err := a.enter(ctx)
	if err != nil {
		k.part(key, a)
		return nil, err
	}
	return func() { out(); k.part(key, a) }, nil
}

func (k *keyedAdmission) join(key string) *countedAdmission {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.byKey[key]
	if a == nil {
		if k.byKey == nil {
			k.byKey = make(map[string]*countedAdmission)
		}
		a = &countedAdmission{admission: newAdmission()}
		k.byKey[key] = a
	}
	a.users++
	return a
}

func (k *keyedAdmission) part(key string, a *countedAdmission) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.users--; a.users == 0 {
		delete(k.byKey, key)
	}
}
