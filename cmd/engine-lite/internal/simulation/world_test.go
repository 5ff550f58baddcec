package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// plan says what one run does.
type plan struct {
	seed       uint64
	users      int
	lifecycles int // of all users together, at least
	// print shows the trace of a run that failed.
	print bool
}

// world is one run: what outlives an engine, and those who act.
type world struct {
	t       *testing.T
	plan    plan
	dir     string // in memory, of this run alone
	streams *libcontainerdtest.Stdio
	daemon  *libcontainerdtest.Daemon
	keeper  *memoryKeeper
	rootfs  *rootfsSet
	ledger  *ledger
	trace   trace

	calm     atomic.Bool // no faults any more
	restarts chan struct{}
	acting   sync.WaitGroup // users
	engines  []*incarnation // of the goroutine that opens them

	mu     sync.Mutex
	steps  map[string]uint64
	faults map[string]int
	epoch  uint64    // of the connection between engine and daemon
	back   time.Time // when there is a connection again
	now    *incarnation
	left   []*user       // each with a container that it left alone
	up     chan struct{} // closed while there is an engine
	broken []string      // promises
	first  int           // after so many lifecycles the first of them
}

// errCut is what a cut connection says.
var errCut = fmt.Errorf("the connection was cut: %w", errdefs.ErrUnavailable)

func newWorld(t *testing.T, p plan, dir string) *world {
	w := &world{
		t: t, plan: p, dir: dir, streams: &libcontainerdtest.Stdio{}, keeper: newMemoryKeeper(), rootfs: newRootfsSet(),
		restarts: make(chan struct{}), steps: map[string]uint64{}, faults: map[string]int{}, up: make(chan struct{}),
	}
	w.trace.begin = time.Now()
	w.trace.keep = p.print
	w.ledger = newLedger(w)
	w.daemon = libcontainerdtest.NewDaemon(w.streams)
	w.daemon.FilterEvents(w.daemonEvent)
	return w
}

// dice are the next decisions of an actor.
func (w *world) dice(actor string) *dice {
	w.mu.Lock()
	defer w.mu.Unlock()
	step := w.steps[actor]
	w.steps[actor]++
	return &dice{w.seedOf(actor, step)}
}

// travel lets something take its time: the dice say how long, and then what comes
// of it. It is false when ctx ended first. Where that was so from the beginning
// nothing has happened: whether one notices it here or has done so before is up
// to the scheduler.
func (w *world) travel(ctx context.Context, what, name string, long func(*dice) time.Duration) (*dice, bool) {
	w.mu.Lock()
	d := &dice{w.seedOf(name, w.steps[name])}
	w.mu.Unlock()
	begun := time.Now()
	arrived := pass(ctx, w.bounded(long(d)))
	if arrived || time.Since(begun) > 0 {
		w.mu.Lock()
		w.steps[name]++
		w.mu.Unlock()
		w.note(what, name, "")
	}
	return d, arrived
}

// bounded is how long something takes that may take so long: in the end nothing
// is slow.
func (w *world) bounded(d time.Duration) time.Duration {
	if w.calm.Load() {
		return min(d, 200*time.Millisecond)
	}
	return d
}

func (w *world) seedOf(actor string, step uint64) uint64 {
	return mix(hash(w.plan.seed^14695981039346656037, actor) ^ mix(step))
}

// kinds are the faults that there are.
var kinds = []string{
	"call refused", "callback slow", "connection cut", "connection cut for a while", "daemon restarted empty", "daemon restarted with its tasks",
	"engine killed after a write", "engine killed before a write", "engine restarted in order", "event late", "event lost",
	"event reordered", "event repeated", "out of memory", "paused by somebody else", "resumed by somebody else",
	"streams or files failed", "subscription cut", "write failed",
}

// fault counts a fault, and whether faults still happen at all.
func (w *world) fault(kind string, happens bool) bool {
	if !happens || w.calm.Load() {
		return false
	}
	if !slices.Contains(kinds, kind) {
		panic("no kind of fault: " + kind)
	}
	w.mu.Lock()
	w.faults[kind]++
	w.mu.Unlock()
	w.note("fault", kind, "")
	return true
}

func (w *world) note(what, who, how string) { w.trace.add(what, who, how) }

// wrong tells of a broken promise. The run goes on to its end.
func (w *world) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("WRONG", text, "")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.broken) == 0 {
		w.first = w.ledger.lifecycles()
	}
	w.broken = append(w.broken, fmt.Sprintf("after %d lifecycles and %v: %s", w.ledger.lifecycles(), time.Since(w.trace.begin), text))
}

// pass lets time pass; false when ctx ended first.
func pass(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connection is the number of the connection that a message goes through, and
// whether there is one.
func (w *world) connection() (number uint64, up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch, !time.Now().Before(w.back)
}

// cut ends the connection: messages under way are lost, waits and
// subscriptions end. It is there again after the time apart. The daemon lives on
// meanwhile, and does what others ask of it.
func (w *world) cut(apart time.Duration) {
	w.mu.Lock()
	w.epoch++
	if back := time.Now().Add(apart); back.After(w.back) {
		w.back = back
	}
	w.mu.Unlock()
	w.daemon.SetDown(true)
	w.daemon.SetDown(false)
}

// away takes the daemon away for a while: it answers nobody, and its processes
// live on.
func (w *world) away(d time.Duration) {
	w.mu.Lock()
	w.epoch++
	w.mu.Unlock()
	w.daemon.SetDown(true)
	time.Sleep(d)
	w.daemon.SetDown(false)
}

// daemonEvent is told of each event of the daemon, which holds its lock. The
// ledger learns the truth of it; subscribers get it late, so that events
// overtake each other, twice, or not at all.
func (w *world) daemonEvent(e libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent {
	w.ledger.happened(e)
	name := fmt.Sprint("event ", e.Type, e.ContainerID, e.ProcessID)
	d := w.dice(name)
	w.note("event", name, "")
	if w.calm.Load() {
		return []libcontainerd.DaemonEvent{e}
	}
	copies := 1
	switch {
	case w.fault("event lost", d.chance(12)):
		return nil
	case w.fault("event repeated", d.chance(12)):
		copies = 3
	}
	for range copies {
		late := d.latency()
		if w.fault("event late", d.chance(25)) {
			late = d.between(time.Second, 2*time.Minute)
		}
		if late > 5*time.Millisecond {
			w.fault("event reordered", true)
		}
		time.AfterFunc(late, func() { w.daemon.Publish(e) })
	}
	return nil
}

// running waits for an engine; nil when ctx ended first. Of those that wait, each
// notices it at a moment of its own.
func (w *world) running(ctx context.Context, who string) *incarnation {
	for ; ; pass(ctx, w.dice(who+" awakes").between(time.Microsecond, 20*time.Millisecond)) {
		w.mu.Lock()
		now, up := w.now, w.up
		w.mu.Unlock()
		if now != nil {
			return now
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *world) setRunning(i *incarnation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case i != nil:
		close(w.up)
	case w.now != nil:
		w.up = make(chan struct{})
	}
	w.now = i
}

// unavailable tells whether err is one that a fault may cause.
func isCrash(err error) bool { return errors.Is(err, errCrashed) }
