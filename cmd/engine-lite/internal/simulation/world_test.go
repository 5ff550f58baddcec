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

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources/resourcestest"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

// plan says what one run does.
type plan struct {
	seed       uint64
	users      int
	lifecycles int // of all users together, at least
	// print shows the trace of a run that failed.
	keepTrace bool
}

// world is one run: the parts that outlive an engine, the users and the readers.
type world struct {
	t       *testing.T
	plan    plan
	dir     string // in memory, only of this run
	streams *libcontainerdtest.Stdio
	daemon  *libcontainerdtest.Daemon
	keeper  *memoryKeeper
	rootfs  *rootfsSet
	ports   *resourcestest.Kernel
	model   *model
	trace   trace

	noFaults atomic.Bool // after the last fault
	restarts chan struct{}
	acting   sync.WaitGroup    // users
	engines  []*engineInstance // used only by the goroutine that opens them

	mu               sync.Mutex
	steps            map[string]uint64
	faults           map[string]int
	connectionNumber uint64    // counts cuts of the connection between engine and daemon
	reconnectAt      time.Time // when the connection is there again
	now              *engineInstance
	unattended       []*user                   // each with a container that it has left alone
	up               chan struct{}             // closed while there is an engine
	stuck            map[resources.Holder]bool // what could not be given back at the exit, by a fault
	violations       []string                  // promises
	first            int                       // lifecycles before the first violation
}

// errCut is the error of a cut connection.
var errCut = fmt.Errorf("the connection was cut: %w", errdefs.ErrUnavailable)

func newWorld(t *testing.T, p plan, dir string) *world {
	w := &world{
		t: t, plan: p, dir: dir, streams: &libcontainerdtest.Stdio{}, keeper: newMemoryKeeper(), rootfs: newRootfsSet(),
		ports:    resourcestest.NewKernel(),
		restarts: make(chan struct{}), steps: map[string]uint64{}, faults: map[string]int{}, stuck: map[resources.Holder]bool{}, up: make(chan struct{}),
	}
	w.trace.begin = time.Now()
	w.trace.keep = p.keepTrace
	w.model = newModel(w)
	w.daemon = libcontainerdtest.NewDaemon(w.streams)
	w.daemon.FilterEvents(w.daemonEvent)
	return w
}

// dice are the next decisions of an actor. The actor's name is a part of the seed of its
// decisions: with another name, a seed is another run.
func (w *world) dice(actor string) *dice {
	w.mu.Lock()
	defer w.mu.Unlock()
	step := w.steps[actor]
	w.steps[actor]++
	return &dice{w.seedOf(actor, step)}
}

// delay waits as long as the dice say. It returns the dice for the decisions about the
// outcome. It is false if ctx ended first. If ctx had ended before the call, the step is
// not counted: whether a goroutine notices the end of its context before this call or in
// it depends on the scheduler.
func (w *world) delay(ctx context.Context, what, name string, long func(*dice) time.Duration) (*dice, bool) {
	w.mu.Lock()
	d := &dice{w.seedOf(name, w.steps[name])}
	w.mu.Unlock()
	begun := time.Now()
	arrived := sleep(ctx, w.bounded(long(d)))
	if arrived || time.Since(begun) > 0 {
		w.mu.Lock()
		w.steps[name]++
		w.mu.Unlock()
		w.note(what, name, "")
	}
	return d, arrived
}

// bounded is the time that a step really takes: after the last fault nothing is slow.
func (w *world) bounded(d time.Duration) time.Duration {
	if w.noFaults.Load() {
		return min(d, 200*time.Millisecond)
	}
	return d
}

func (w *world) seedOf(actor string, step uint64) uint64 {
	return mix(hash(w.plan.seed^14695981039346656037, actor) ^ mix(step))
}

// kinds are all kinds of faults.
var kinds = []string{
	"call refused", "callback slow", "connection cut", "connection cut for a while", "daemon restarted empty",
	"daemon restarted with its tasks",
	"engine killed after a write", "engine killed before a write", "engine restarted in order", "event late",
	"event lost",
	"event reordered", "event repeated", "out of memory", "paused by another client", "resumed by another client",
	"streams or files failed", "subscription cut", "write failed",
}

// fault counts a fault that happens. It is false after the last fault.
func (w *world) fault(kind string, happens bool) bool {
	if !happens || w.noFaults.Load() {
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

// violation records that a promise was broken. The run goes on to its end.
func (w *world) violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("WRONG", text, "")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.violations) == 0 {
		w.first = w.model.lifecycles()
	}
	w.violations = append(w.violations,
		fmt.Sprintf("after %d lifecycles and %v: %s", w.model.lifecycles(), time.Since(w.trace.begin), text))
}

// sleep waits. It is false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connection returns the number of the current connection, and whether it is up.
func (w *world) connection() (number uint64, up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.connectionNumber, !time.Now().Before(w.reconnectAt)
}

// cut cuts the connection: messages under way are lost, waits and subscriptions end. The
// connection is down for the given time. The daemon runs on meanwhile, and serves other
// clients.
func (w *world) cut(apart time.Duration) {
	w.mu.Lock()
	w.connectionNumber++
	if reconnectAt := time.Now().Add(apart); reconnectAt.After(w.reconnectAt) {
		w.reconnectAt = reconnectAt
	}
	w.mu.Unlock()
	w.daemon.SetDown(true)
	w.daemon.SetDown(false)
}

// takeDaemonDown makes the daemon unavailable for a while. Its processes run on.
func (w *world) takeDaemonDown(d time.Duration) {
	w.mu.Lock()
	w.connectionNumber++
	w.mu.Unlock()
	w.daemon.SetDown(true)
	time.Sleep(d)
	w.daemon.SetDown(false)
}

// daemonEvent is called for each event of the daemon. The daemon holds its lock meanwhile.
// The model gets the event as it is. Subscribers get it late (so that events overtake each
// other), three times, or not at all.
func (w *world) daemonEvent(e libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent {
	w.model.daemonEvent(e)
	name := fmt.Sprint("event ", e.Type, e.ContainerID, e.ProcessID)
	d := w.dice(name)
	w.note("event", name, "")
	if w.noFaults.Load() {
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

// running waits for an engine and returns it, or nil if ctx ended first. Each of the
// waiting goroutines goes on at a moment of its own.
func (w *world) running(ctx context.Context, who string) *engineInstance {
	for ; ; sleep(ctx, w.dice(who+" awakes").between(time.Microsecond, 20*time.Millisecond)) {
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

func (w *world) setRunning(i *engineInstance) {
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

// isCrash is true for the error of a killed engine.
func isCrash(err error) bool { return errors.Is(err, errCrashed) }
