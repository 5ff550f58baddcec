package remote

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// pauseLocks keep the pause of a task and the starts of its execs apart. A shim of containerd that starts an exec while the
// OCI runtime freezes the task waits for a process that is frozen, and so does whoever asked for the exec.
type pauseLocks struct {
	mu   sync.Mutex
	byID map[string]*pauseLock
}

type pauseLock struct {
	all   *semaphore.Weighted
	users int // of this lock, under mu
}

// everyStart is the weight of a pause; a start has 1.
const everyStart = math.MaxInt64

// enter waits until a request of this weight may go on, or ctx ends, and returns what ends it.
func (l *pauseLocks) enter(ctx context.Context, id string, weight int64) (leave func(), err error) {
	l.mu.Lock()
	if l.byID == nil {
		l.byID = map[string]*pauseLock{}
	}
	lock := l.byID[id]
	if lock == nil {
		lock = &pauseLock{all: semaphore.NewWeighted(everyStart)}
		l.byID[id] = lock
	}
	lock.users++
	l.mu.Unlock()
	if err := lock.all.Acquire(ctx, weight); err != nil {
		l.forget(id, lock)
		return nil, err
	}
	return func() {
		lock.all.Release(weight)
		l.forget(id, lock)
	}, nil
}

// forget removes the lock of a container that nobody uses any more.
func (l *pauseLocks) forget(id string, lock *pauseLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock.users--; lock.users == 0 {
		delete(l.byID, id)
	}
}
