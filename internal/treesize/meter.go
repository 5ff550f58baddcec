package treesize

import (
	"context"
	"sync"
)

// Meter measures trees. It bounds how many are walked at once. Callers that ask for the same tree share walks: however
// many they are, two walks serve them all. A result is never older than the call.
type Meter struct {
	slots chan struct{}
	count Count
	walk  func(ctx context.Context, dir string, count Count) (int64, error)

	mu    sync.Mutex
	calls uint64           // calls and walks so far: their order
	trees map[string]*tree // that somebody asks for, by directory
}

// tree is a tree that is being measured.
type tree struct {
	users int           // calls that wait or walk; Meter.mu guards it
	busy  chan struct{} // has a value while somebody walks; who put it there has what is below
	begun uint64        // the place of the last walk in the order of calls; 0 for none
	size  int64         // what that walk found
}

// NewMeter returns a meter that walks so many trees at once.
func NewMeter(atOnce int, count Count) *Meter {
	return &Meter{count: count, slots: make(chan struct{}, atOnce), walk: walk, trees: map[string]*tree{}}
}

// Size returns how many bytes dir and all that is below have, without what is mounted there. A file with
// several names counts once. What comes or goes meanwhile may count or not. Errors: NotFound where dir is missing, and
// the cause of the end of ctx.
func (m *Meter) Size(ctx context.Context, dir string) (int64, error) {
	t, asked := m.join(dir)
	defer m.part(dir, t)
	if err := enter(ctx, t.busy); err != nil {
		return 0, err
	}
	defer func() { <-t.busy }()
	if t.begun > asked {
		return t.size, nil
	}
	if err := enter(ctx, m.slots); err != nil {
		return 0, err
	}
	defer func() { <-m.slots }()
	begun := m.next()
	size, err := m.walk(ctx, dir, m.count)
	if err != nil {
		return 0, err
	}
	t.begun, t.size = begun, size
	return size, nil
}

func (m *Meter) join(dir string) (t *tree, asked uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t = m.trees[dir]; t == nil {
		t = &tree{busy: make(chan struct{}, 1)}
		m.trees[dir] = t
	}
	t.users++
	m.calls++
	return t, m.calls
}

func (m *Meter) part(dir string, t *tree) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(m.trees, dir)
	}
}

func (m *Meter) next() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	return m.calls
}

func enter(ctx context.Context, gate chan struct{}) error {
	select {
	case gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
