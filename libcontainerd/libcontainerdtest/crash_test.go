package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// scenario is an operation that makes several calls to the daemon. Each call goes wrong
// in a run of its own.
type scenario struct {
	name    string
	prepare func(e *env) *libcontainerd.Container
	run     func(ctx context.Context, e *env, ctr *libcontainerd.Container) error
	again   bool // after an error the operation is repeated, and must succeed then
}

// injectedFault is how a call goes wrong.
type injectedFault int

const (
	nothing    injectedFault = iota
	downBefore               // the daemon goes down before it gets the request
	downAfter                // the daemon does the work, and goes down before it answers
	refuses                  // the daemon answers with an error
	failsLate                // the daemon does the work, and answers with an error
	hangs                    // the daemon never answers
	ctxBefore                // the caller's context ends before the request
	ctxAfter                 // the caller's context ends before the answer
	injectedFaults
)

// faultInjector is between client and daemon, and makes one call go wrong.
type faultInjector struct {
	fake *Daemon

	mu     sync.Mutex
	armed  bool
	calls  []Call
	nth    int // counted from 1
	what   injectedFault
	cancel context.CancelFunc
}

func (s *faultInjector) tap(t *Tap) {
	t.Before = func(ctx context.Context, c Call) error { return s.inject(ctx, c, true) }
	t.After = func(ctx context.Context, c Call, err error) error {
		if late := s.inject(ctx, c, false); late != nil {
			return late
		}
		return err
	}
}

// inject makes the fault happen at the nth call.
func (s *faultInjector) inject(ctx context.Context, c Call, before bool) error {
	what, cancel := s.due(c, before)
	switch what {
	case downBefore, downAfter:
		s.fake.SetDown(true)
		return errdefs.ErrUnavailable
	case refuses, failsLate:
		return errdefs.ErrInternal
	case hangs:
		<-ctx.Done()
		return context.Cause(ctx)
	case ctxBefore, ctxAfter:
		cancel()
		return ctx.Err()
	case nothing, injectedFaults:
	}
	return nil
}

// due returns the mishap of this call, once.
func (s *faultInjector) due(c Call, before bool) (injectedFault, context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.armed {
		return nothing, nil
	}
	if before {
		s.calls = append(s.calls, c)
	}
	early := s.what == downBefore || s.what == refuses || s.what == hangs || s.what == ctxBefore
	if early != before || len(s.calls) < s.nth || s.calls[s.nth-1] != c {
		return nothing, nil
	}
	what := s.what
	s.what = nothing
	return what, s.cancel
}

func (s *faultInjector) set(nth int, what injectedFault, cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed, s.calls, s.nth, s.what, s.cancel = true, nil, nth, what, cancel
}

func (s *faultInjector) clear() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	return s.calls
}

func scenarios() []scenario {
	withStdin := libcontainerd.StdioConfig{Stdin: true}
	created := func(e *env) *libcontainerd.Container { return e.create("sleep 1000") }
	running := func(e *env) *libcontainerd.Container {
		ctr := e.create("cat; sleep 1000")
		e.start(ctr, withStdin)
		e.exec(ctr, "e9", "sleep 2000", withStdin)
		return ctr
	}
	paused := func(e *env) *libcontainerd.Container {
		ctr := running(e)
		e.must(ctr.Pause(e.ctx))
		return ctr
	}
	stopped := func(e *env) *libcontainerd.Container {
		ctr := e.started("sleep 1000")
		e.must(ctr.KillAll(e.ctx, syscall.SIGKILL))
		e.exits(ctr, initProcess, 137)
		return ctr
	}
	remove := func(force bool) func(context.Context, *env, *libcontainerd.Container) error {
		return func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			return ctr.Delete(ctx, libcontainerd.DeleteOptions{Force: force})
		}
	}
	start := func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
		_, err := ctr.Start(ctx, libcontainerd.StartOptions{Stdio: withStdin})
		return err
	}
	return []scenario{
		{"create", func(*env) *libcontainerd.Container { return nil },
			func(ctx context.Context, e *env, _ *libcontainerd.Container) error {
				_, err := e.client.Create(ctx, "new", e.Spec("sleep 1000"), e.Options)
				return err
			}, false},
		{"create over remains", func(e *env) *libcontainerd.Container {
			e.must(e.Daemon.CreateContainer(e.ctx, libcontainerd.Record{ID: "old", Spec: e.Spec("exit 0")}))
			_, err := e.Daemon.CreateTask(e.ctx, "old", libcontainerd.TaskConfig{})
			e.must(err)
			return nil
		}, func(ctx context.Context, e *env, _ *libcontainerd.Container) error {
			_, err := e.client.Create(ctx, "old", e.Spec("sleep 1000"), e.Options)
			return err
		}, true},
		{"start", created, start, false},
		{"start again", stopped, start, false},
		{"start and end at once",
			func(e *env) *libcontainerd.Container { return e.create("echo short; exit 5") }, start, false},
		{"exec", running, func(ctx context.Context, e *env, ctr *libcontainerd.Container) error {
			_, err := ctr.Exec(ctx, "e1", e.Process("sleep 1000"), withStdin)
			return err
		}, false},
		{"short exec", running, func(ctx context.Context, e *env, ctr *libcontainerd.Container) error {
			_, err := ctr.Exec(ctx, "e1", e.Process("exit 3"), withStdin)
			return err
		}, false},
		{"kill", running, func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			return ctr.KillAll(ctx, syscall.SIGKILL)
		}, false},
		{"kill exec", running, func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			return ctr.Signal(ctx, "e9", syscall.SIGKILL)
		}, false},
		{"pause", running,
			func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error { return ctr.Pause(ctx) }, false},
		{"resume", paused,
			func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error { return ctr.Resume(ctx) }, false},
		{"close stdin", running, func(_ context.Context, _ *env, ctr *libcontainerd.Container) error {
			return ctr.CloseStdin(initProcess)
		}, false},
		{"update", running, func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			return ctr.Update(ctx, &specs.LinuxResources{})
		}, false},
		{"end by itself", running, func(_ context.Context, e *env, ctr *libcontainerd.Container) error {
			e.Fake.OOMKill(ctr.ID())
			return nil
		}, false},
		{"delete created", created, remove(false), true},
		{"delete stopped", stopped, remove(false), true},
		{"force delete running", running, remove(true), true},
		{"force delete paused", paused, remove(true), true},
		{"periodic reconcile", running, func(context.Context, *env, *libcontainerd.Container) error {
			<-time.After(40 * time.Second)
			return nil
		}, false},
	}
}

// TestEachCallGoesWrong has each call of each operation go wrong in each way. Afterwards
// nothing is left, each exit was delivered once, and the container can be used.
func TestEachCallGoesWrong(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			calls := s.runWithFault(t, 1, nothing)
			if len(calls) == 0 {
				t.Fatal("no call was made")
			}
			for nth := range calls {
				for what := downBefore; what < injectedFaults; what++ {
					s.runWithFault(t, nth+1, what)
					if t.Failed() {
						t.Fatalf("call %d, %+v of %v, mishap %d", nth+1, calls[nth], calls, what)
					}
				}
			}
		})
	}
}

// runWithFault runs the operation once, with a fault at the nth call.
func (s scenario) runWithFault(t *testing.T, nth int, what injectedFault) (calls []Call) {
	t.Helper()
	injector := &faultInjector{}
	bubble(t, injector.tap, func(e *env) {
		injector.fake = e.Fake
		ctr := s.prepare(e)
		<-time.After(time.Second) // the background work of the preparation is done
		ctx, cancel := context.WithTimeout(e.ctx, 3*time.Second)
		if s.name == "periodic reconcile" {
			ctx, cancel = context.WithCancel(e.ctx)
		}
		defer cancel()
		injector.set(nth, what, cancel)
		err := s.run(ctx, e, ctr)
		if what == nothing {
			e.must(err)
		}
		<-time.After(5 * time.Second)
		calls = injector.clear()
		e.Fake.SetDown(false)
		<-time.After(2 * time.Minute)
		if s.again && err != nil {
			e.must(ignoreNotFound(s.run(e.ctx, e, ctr)))
		}
		if wrong := e.consistent(false); wrong != nil {
			e.Errorf("%v; the operation's error: %v", wrong, err)
		}
		e.usable(ctr)
		if wrong := e.consistent(false); wrong != nil {
			e.Errorf("afterwards: %v", wrong)
		}
	})
	return calls
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// consistent compares the client with the daemon. With stale there may be more streams
// and execs of the client's containers, but none of other containers.
func (e *env) consistent(stale bool) error {
	tasks, err := e.Daemon.Tasks(e.ctx)
	if err != nil {
		return err
	}
	at := map[string]libcontainerd.Task{}
	for _, t := range tasks {
		at[t.ID] = t
	}
	var errs []error
	records := map[string]bool{}
	errs = append(errs, e.Daemon.Containers(e.ctx, func(id string) error { records[id] = true; return nil }))
	left := map[string]bool{}
	for _, name := range e.Left() {
		left[name] = true
	}
	for _, ctr := range e.client.List() {
		errs = append(errs, e.agrees(ctr, at[ctr.ID()], left, stale))
		if stale {
			maps.DeleteFunc(left, func(name string, _ bool) bool { return strings.HasPrefix(name, ctr.ID()+"/") })
		}
		delete(at, ctr.ID())
		delete(records, ctr.ID())
	}
	if len(at)+len(records)+len(left) > 0 {
		errs = append(errs, fmt.Errorf("left at the daemon: tasks %v, records %v; streams %v", at, records,
			slices.Sorted(maps.Keys(left))))
	}
	return errors.Join(errs...)
}

// agrees compares one container with its task, and removes its streams from left.
func (e *env) agrees(ctr *libcontainerd.Container, t libcontainerd.Task, left map[string]bool, stale bool) error {
	id, status := ctr.ID(), ctr.Status()
	want := map[libcontainerd.TaskStatus]libcontainerd.Status{
		libcontainerd.TaskRunning: libcontainerd.StatusRunning, libcontainerd.TaskPaused: libcontainerd.StatusPaused,
	}[t.Status]
	switch {
	case t.ID == "" && (status == libcontainerd.StatusCreated || status == libcontainerd.StatusStopped):
		return nil
	case t.ID == "" || status != want || t.Pid != ctr.Pid():
		return fmt.Errorf("container %s is %v with pid %d, at the daemon: %+v", id, status, ctr.Pid(), t)
	}
	for _, process := range append(ctr.Execs(), initProcess) {
		name := id + "/" + process
		if p, err := e.Daemon.Process(e.ctx, id, process); err != nil || p.Status == libcontainerd.TaskStopped {
			return fmt.Errorf("process %s, at the daemon: %+v, %w", name, p, err)
		}
		if !left[name] {
			return fmt.Errorf("no streams of %s", name)
		}
		delete(left, name)
	}
	if status == libcontainerd.StatusPaused {
		return nil // the leftover of a failed exec takes its signal when the container is resumed
	}
	stats, err := e.Daemon.Stats(e.ctx, id)
	if err != nil || (int(stats.PidsCurrent) != len(ctr.Execs())+1 && !stale) {
		return fmt.Errorf("execs of %s are %v, at the daemon: %+v, %w", id, ctr.Execs(), stats, err)
	}
	return nil
}

// usable fails unless the container can be used after the mishap.
func (e *env) usable(ctr *libcontainerd.Container) {
	if ctr == nil || ctr.Status() == libcontainerd.StatusDeleted {
		return
	}
	if ctr.Status() == libcontainerd.StatusPaused {
		e.must(ctr.Resume(e.ctx))
	}
	if ctr.Status() != libcontainerd.StatusRunning {
		e.start(ctr, libcontainerd.StdioConfig{})
	}
	id := "e1"
	if slices.Contains(ctr.Execs(), id) {
		id = "e2"
	}
	_, err := ctr.Exec(e.ctx, id, e.Process("sleep 500"), libcontainerd.StdioConfig{})
	if errdefs.IsAlreadyExists(err) {
		return // the container has run, and exited
	}
	<-time.After(time.Second) // the container may be exiting
	if ctr.Status() != libcontainerd.StatusRunning {
		return // a container that exits at once
	}
	e.must(err)
	<-time.After(2 * time.Minute)
	if !slices.Contains(ctr.Execs(), id) && ctr.Status() == libcontainerd.StatusRunning {
		e.Errorf("execs %v", ctr.Execs())
	}
}
