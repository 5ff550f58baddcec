package libcontainerdtest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// hung has all calls of one operation for one container wait for their context.
type hung struct {
	op      string
	id      atomic.Pointer[string]
	blocked chan struct{} // closed by the first call
	once    sync.Once
}

func (h *hung) before(ctx context.Context, c Call) error {
	if id := h.id.Load(); c.Op != h.op || id == nil || c.ContainerID != *id {
		return nil
	}
	h.once.Do(func() { close(h.blocked) })
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestHangDelaysNobodyElse has each call for one container hang, one after the other.
// The client still answers for that container, and requests for another one work.
func TestHangDelaysNobodyElse(t *testing.T) {
	for op, request := range requestsByCall() {
		t.Run(op, func(t *testing.T) {
			h := &hung{op: op}
			bubble(t, func(tap *Tap) { h.blocked = make(chan struct{}); tap.Before = h.before }, func(e *env) {
				stuck := e.createTerminal("cat; sleep 1000000", true)
				if op != "CreateTask" && op != "DeleteContainer" {
					e.start(stuck, libcontainerd.StdioConfig{Stdin: true, Terminal: true})
					e.exec(stuck, "e9", "sleep 1000000", libcontainerd.StdioConfig{Stdin: true})
				}
				if op == "Resume" {
					e.must(stuck.Pause(e.ctx))
				}
				id := stuck.ID()
				h.id.Store(&id)
				ctx, cancel := context.WithCancel(e.ctx)
				var caller sync.WaitGroup
				caller.Go(func() { _ = request(ctx, e, stuck) })
				e.await("the call that hangs", h.blocked)
				e.works(stuck)
				h.id.Store(nil)
				cancel()
				caller.Wait()
			})
		})
	}
}

// requestsByCall has requests that make a call, by the name of the call. The container's spec has a terminal.
func requestsByCall() map[string]func(context.Context, *env, *libcontainerd.Container) error {
	type request = func(context.Context, *env, *libcontainerd.Container) error
	exec := func(ctx context.Context, e *env, ctr *libcontainerd.Container) error {
		_, err := ctr.Exec(ctx, "e1", e.Process("exit 0"), libcontainerd.StdioConfig{})
		return err
	}
	end := func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
		return ctr.KillAll(ctx, syscall.SIGKILL)
	}
	return map[string]request{
		"CreateTask": func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			_, err := ctr.Start(ctx, libcontainerd.StartOptions{Stdio: libcontainerd.StdioConfig{Terminal: true}})
			return err
		},
		"Start": exec, "AddExec": exec, "Wait": exec,
		"Kill": end, "Delete": end,
		"Resize": func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			return ctr.Resize(ctx, initProcess, 80, 25)
		},
		"CloseIO": func(_ context.Context, _ *env, ctr *libcontainerd.Container) error { return ctr.CloseStdin("e9") },
		"Pause":   func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error { return ctr.Pause(ctx) },
		"Resume":  func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error { return ctr.Resume(ctx) },
		"Pids": func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			_, err := ctr.Pids(ctx)
			return err
		},
		"Stats": func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			_, err := ctr.Stats(ctx)
			return err
		},
		"Update": func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			return ctr.Update(ctx, &specs.LinuxResources{})
		},
		"Process": func(_ context.Context, e *env, _ *libcontainerd.Container) error {
			<-time.After(40 * time.Second) // until the next reconcile asks for the exec
			return nil
		},
		"DeleteContainer": func(ctx context.Context, _ *env, ctr *libcontainerd.Container) error {
			return ctr.Delete(ctx, libcontainerd.DeleteOptions{})
		},
	}
}

// works fails unless the client answers for a stuck container, and every request for
// another container works, while no time passes.
func (e *env) works(stuck *libcontainerd.Container) {
	e.Helper()
	begun := time.Now()
	if got, err := e.client.Get(stuck.ID()); err != nil || got != stuck || !slices.Contains(e.client.List(), stuck) {
		e.Errorf("the stuck container: %v, %v", got, err)
	}
	_, _, _, _ = stuck.Status(), stuck.Pid(), stuck.Generation(), stuck.Execs()
	ctr := e.createTerminal("cat; sleep 1000", true)
	e.start(ctr, libcontainerd.StdioConfig{Stdin: true, Terminal: true})
	e.exec(ctr, "e1", "cat; exit 4", libcontainerd.StdioConfig{Stdin: true})
	e.must(ctr.CloseStdin("e1"))
	e.exits(ctr, "e1", 4)
	e.must(ctr.Pause(e.ctx))
	e.must(ctr.Resume(e.ctx))
	_, err := ctr.Pids(e.ctx)
	e.must(err)
	_, err = ctr.Stats(e.ctx)
	e.must(err)
	e.must(ctr.Update(e.ctx, &specs.LinuxResources{}))
	e.must(ctr.Resize(e.ctx, initProcess, 80, 25))
	e.must(ctr.CloseStdin(initProcess))
	e.must(ctr.Signal(e.ctx, initProcess, syscall.SIGTERM))
	e.exits(ctr, initProcess, 143)
	e.start(ctr, libcontainerd.StdioConfig{Terminal: true})
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}))
	if took := time.Since(begun); took > 0 {
		e.Errorf("the other container waited %v", took)
	}
}

// TestHungComparisonDelaysNoHint has the daemon hang when it is asked for one container,
// while another container is paused without the client.
func TestHungComparisonDelaysNoHint(t *testing.T) {
	h := &hung{op: "Process"}
	bubble(t, func(tap *Tap) { h.blocked = make(chan struct{}); tap.Before = h.before }, func(e *env) {
		stuck, other := e.started("sleep 100000"), e.started("sleep 100000")
		e.exec(stuck, "e1", "sleep 100000", libcontainerd.StdioConfig{})
		id := stuck.ID()
		h.id.Store(&id)
		e.await("the call that hangs", h.blocked)
		begun := time.Now()
		e.must(e.Fake.Pause(e.ctx, other.ID()))
		e.awaitEvent(other, libcontainerd.EventPaused)
		if took := time.Since(begun); took > 0 {
			e.Errorf("the event came after %v", took)
		}
		h.id.Store(nil)
	})
}

// TestHungComparisonDelaysReadyBriefly restores more containers than the daemon is asked
// for at once, and has the daemon hang for one that has exited meanwhile.
func TestHungComparisonDelaysReadyBriefly(t *testing.T) {
	h := &hung{op: "Process"}
	bubble(t, func(tap *Tap) { h.blocked = make(chan struct{}); tap.Before = h.before }, func(e *env) {
		stuck, other := e.create("sleep 100000"), e.create("sleep 100000")
		pids := []int{e.start(stuck, libcontainerd.StdioConfig{}), e.start(other, libcontainerd.StdioConfig{})}
		id := stuck.ID()
		e.stop()
		e.endsAtDaemon(stuck.ID())
		e.endsAtDaemon(other.ID())
		h.id.Store(&id)
		e.prepare()
		var restored []*libcontainerd.Container
		for i, ctr := range []*libcontainerd.Container{stuck, other} {
			r, err := e.client.Restore(e.ctx, ctr.ID(),
				libcontainerd.RestoreOptions{CreateOptions: e.Options, Generation: 1, Pid: pids[i]})
			e.must(err)
			restored = append(restored, r)
		}
		begun := time.Now()
		e.begin()
		e.await("ready", e.client.Ready())
		if took := time.Since(begun); took > 2*time.Second {
			e.Errorf("ready after %v", took)
		}
		e.exits(restored[1], initProcess, 137)
		e.status(restored[0], libcontainerd.StatusRunning)
		h.id.Store(nil)
		e.exits(restored[0], initProcess, 137)
	})
}

// TestCallbackHangDelaysNobodyElse is the same for each callback.
func TestCallbackHangDelaysNobodyElse(t *testing.T) {
	for _, what := range []string{"attach", "start", "exit"} {
		t.Run(what, func(t *testing.T) {
			bubble(t, nil, func(e *env) {
				stuck := e.create("exit 5")
				release, blocked := make(chan struct{}), make(chan struct{})
				block := func(id, now string) {
					if id == stuck.ID() && now == what {
						close(blocked)
						<-release
					}
				}
				e.recorder.OnAttach = func(id, _ string, _ libcontainerd.Streams) error {
					block(id, "attach")
					return nil
				}
				e.recorder.OnEvent = func(ev libcontainerd.Event) error {
					block(ev.ContainerID, string(ev.Type))
					return nil
				}
				var caller sync.WaitGroup
				caller.Go(func() { e.start(stuck, libcontainerd.StdioConfig{}) })
				e.await("the callback that hangs", blocked)
				e.works(stuck)
				close(release)
				caller.Wait()
				e.exits(stuck, initProcess, 5)
			})
		})
	}
}
