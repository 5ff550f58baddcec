package core

import (
	"slices"
	"sync"
	"time"

	"github.com/engine-lite/engine-lite/keeper"
)

// exitTable finds the process of an exit, by pid and start time.
//
// An exit may arrive before its process is known: the OCI runtime has not returned yet. While any process is being
// made, exits that match nothing are kept.
type exitTable struct {
	mu      sync.Mutex
	live    map[int]liveProcess
	windows map[*window]struct{}
	opened  uint64 // windows so far
	early   []earlyExit
}

// earlyExit is one that came when so many windows had been opened: it isn't of a process that was made later. Clocks
// say less, since they are set back.
type earlyExit struct {
	keeper.Exit
	opened uint64
}

// liveProcess is a process whose exit is awaited. A start of 0 is that of a process that was gone before its start
// time could be read: the first exit of its pid after the window opened is its own.
type liveProcess struct {
	p     *Process
	start uint64
	since time.Time
	// watched tells that a goroutine waits for the end of this process, which the keeper can't tell.
	watched bool
}

// window is the time during which one process is made.
type window struct {
	table  *exitTable
	since  time.Time
	number uint64
}

func newExitTable() *exitTable {
	return &exitTable{live: make(map[int]liveProcess), windows: make(map[*window]struct{})}
}

func (l liveProcess) matches(e keeper.Exit) bool {
	if l.start == 0 || e.StartTime == 0 {
		return !e.Time.Before(l.since)
	}
	return l.start == e.StartTime
}

// open begins a window. The caller closes it.
func (t *exitTable) open() *window {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opened++
	w := &window{table: t, since: time.Now(), number: t.opened}
	t.windows[w] = struct{}{}
	return w
}

// close ends a window and returns the exits that no window can want any more.
func (w *window) close() []keeper.Exit {
	t := w.table
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.windows, w)
	oldest := t.opened + 1
	for other := range t.windows {
		oldest = min(oldest, other.number)
	}
	var stale []keeper.Exit
	t.early = slices.DeleteFunc(t.early, func(e earlyExit) bool {
		if e.opened < oldest {
			stale = append(stale, e.Exit)
		}
		return e.opened < oldest
	})
	return stale
}

// expect registers a process. If its exit is there already, that is returned and the process isn't registered.
func (t *exitTable) expect(pid int, l liveProcess) *keeper.Exit {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.early, func(e earlyExit) bool {
		return e.Pid == pid && l.matches(e.Exit)
	})
	if i < 0 {
		t.live[pid] = l
		return nil
	}
	e := t.early[i].Exit
	t.early = slices.Delete(t.early, i, i+1)
	return &e
}

// take finds the process that an exit is of, which is then no longer awaited. Without one, keep tells whether the
// exit was kept for a process that is being made; if not, nobody wants it.
func (t *exitTable) take(e keeper.Exit) (p *Process, keep bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.live[e.Pid]; ok && l.matches(e) {
		delete(t.live, e.Pid)
		return l.p, false
	}
	if len(t.windows) == 0 {
		return nil, false
	}
	t.early = append(t.early, earlyExit{Exit: e, opened: t.opened})
	return nil, true
}

// forget removes a process; false means that it wasn't awaited any more.
func (t *exitTable) forget(pid int, p *Process) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	awaited := t.live[pid].p == p
	if awaited {
		delete(t.live, pid)
	}
	return awaited
}

// watch marks a process as watched; false means that it is already, or not awaited any more.
func (t *exitTable) watch(pid int, p *Process) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.live[pid]
	if l.p != p || l.watched {
		return false
	}
	l.watched = true
	t.live[pid] = l
	return true
}

// awaits tells whether a process is awaited already.
func (t *exitTable) awaits(pid int, start uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.live[pid]
	return ok && l.start == start
}

// all returns the processes that are awaited.
func (t *exitTable) all() map[int]liveProcess {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make(map[int]liveProcess, len(t.live))
	for pid, l := range t.live {
		list[pid] = l
	}
	return list
}
