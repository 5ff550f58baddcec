package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var badIDsOfAll = []string{"", ".", "..", "../x", "a/b", "/a", "a b", "é", "a\x00b", "a\n", "\na", "-a", "a-", "a..b",
	"\u202ea", "\xff",
	strings.Repeat("x", 77), strings.Repeat("x", 4096)}

// TestBadIDs checks that no bad id reaches the daemon in any request.
func TestBadIDs(t *testing.T) {
	var bad atomic.Pointer[string]
	bubble(t, func(tap *Tap) {
		tap.Before = func(_ context.Context, c Call) error {
			if id := bad.Load(); id != nil && *id != "" && (c.ContainerID == *id || c.ProcessID == *id) {
				t.Errorf("%+v reached the daemon", c)
			}
			return nil
		}
	}, func(e *env) {
		ctr := e.started("sleep 1000")
		for _, id := range badIDsOfAll {
			bad.Store(&id)
			_, err := e.client.Create(e.ctx, id, e.Spec("exit 0"), e.Options)
			e.refused(err, errdefs.IsInvalidArgument)
			_, err = e.client.Restore(e.ctx, id, libcontainerd.RestoreOptions{})
			e.refused(err, errdefs.IsInvalidArgument)
			_, err = ctr.Exec(e.ctx, id, e.Process("exit 0"), libcontainerd.StdioConfig{})
			e.refused(err, errdefs.IsInvalidArgument)
			_, err = e.client.Get(id)
			e.refused(err, errdefs.IsNotFound)
			_, err = ctr.Wait(e.ctx, id)
			e.refused(err, errdefs.IsNotFound)
			e.refused(ctr.Signal(e.ctx, id, syscall.SIGTERM), errdefs.IsNotFound)
			e.refused(ctr.Resize(e.ctx, id, 1, 1), errdefs.IsNotFound)
			e.refused(ctr.CloseStdin(id), errdefs.IsNotFound)
		}
	})
}

// TestBadRequests checks that requests with bad arguments are refused.
func TestBadRequests(t *testing.T) {
	bubble(t, nil, func(e *env) {
		for _, spec := range []*specs.Spec{nil, {}} {
			_, err := e.client.Create(e.ctx, "a", spec, e.Options)
			e.refused(err, errdefs.IsInvalidArgument)
		}
		for _, labels := range []map[string]string{{"\xff": ""}, {"a": "\xff"}} {
			_, err := e.client.Create(e.ctx, "a", e.Spec("exit 0"), libcontainerd.CreateOptions{Labels: labels})
			e.refused(err, errdefs.IsInvalidArgument)
		}
		ctr := e.started("sleep 1000")
		for _, process := range []*specs.Process{nil, {}} {
			_, err := ctr.Exec(e.ctx, "e1", process, libcontainerd.StdioConfig{})
			e.refused(err, errdefs.IsInvalidArgument)
		}
		for _, sig := range []syscall.Signal{-1, 0, 65, 1 << 40} {
			e.refused(ctr.Signal(e.ctx, initProcess, sig), errdefs.IsInvalidArgument)
		}
		e.refused(ctr.Update(e.ctx, nil), errdefs.IsInvalidArgument)
	})
}

// wrongDaemon is a daemon that gives wrong answers.
type wrongDaemon struct {
	libcontainerd.Daemon
	pid   atomic.Int64 // the pid that Start returns, if not 1
	tasks atomic.Pointer[[]libcontainerd.Task]
	task  atomic.Pointer[libcontainerd.Task]
}

func (l *wrongDaemon) Start(ctx context.Context, id, process string) (int, error) {
	pid, err := l.Daemon.Start(ctx, id, process)
	if wrong := l.pid.Load(); wrong != 1 {
		pid = int(wrong)
	}
	return pid, err
}

func (l *wrongDaemon) Tasks(ctx context.Context) ([]libcontainerd.Task, error) {
	if wrong := l.tasks.Load(); wrong != nil {
		return *wrong, nil
	}
	return l.Daemon.Tasks(ctx)
}

func (l *wrongDaemon) Process(ctx context.Context, id, process string) (libcontainerd.Task, error) {
	if wrong := l.task.Load(); wrong != nil {
		return *wrong, nil
	}
	return l.Daemon.Process(ctx, id, process)
}

func withWrongDaemon(t *testing.T, fn func(e *env, l *wrongDaemon)) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHarness(t)
		l := &wrongDaemon{Daemon: h.Daemon}
		l.pid.Store(1)
		h.Daemon = l
		fn(newEnv(t, h), l)
	})
}

// TestImpossiblePid checks that a start with an impossible pid fails, and that nothing
// is left of the process.
func TestImpossiblePid(t *testing.T) {
	withWrongDaemon(t, func(e *env, l *wrongDaemon) {
		host := e.started("sleep 1000")
		for _, pid := range []int64{0, -1, -1 << 40} {
			l.pid.Store(pid)
			ctr := e.create("sleep 1000")
			_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{Stdio: libcontainerd.StdioConfig{Stdin: true}})
			e.refused(err, errdefs.IsInternal)
			e.status(ctr, libcontainerd.StatusCreated)
			_, err = host.Exec(e.ctx, "e1", e.Process("sleep 1000"), libcontainerd.StdioConfig{Stdin: true})
			e.refused(err, errdefs.IsInternal)
			l.pid.Store(1)
			e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}))
		}
		e.must(e.consistent(false))
	})
}

// TestListIsAHint has the daemon list ten thousand unknown tasks, and wrong states of a
// running one. The container runs on, and its exit is delivered once.
func TestListIsAHint(t *testing.T) {
	withWrongDaemon(t, func(e *env, l *wrongDaemon) {
		ctr := e.started("sleep 5000; exit 7")
		e.exec(ctr, "e1", "sleep 4000; exit 6", libcontainerd.StdioConfig{})
		id, pid := ctr.ID(), ctr.Pid()
		long := time.Date(1931, 1, 1, 0, 0, 0, 0, time.UTC)
		strangers := []libcontainerd.Task{{ID: id, Pid: pid, Status: libcontainerd.TaskRunning}}
		for i := range 10_000 {
			strangers = append(strangers, libcontainerd.Task{ID: fmt.Sprintf("s%d", i), Pid: i - 5000,
				Status: libcontainerd.TaskStatus(i % 9)})
		}
		for i, list := range [][]libcontainerd.Task{
			nil,
			{{ID: id, Pid: pid + 1, Status: libcontainerd.TaskRunning}},
			{{ID: id, Pid: -4, Status: libcontainerd.TaskRunning}},
			{{ID: id, Pid: 0, Status: 99}},
			{{ID: id, Pid: pid, Status: libcontainerd.TaskStopped,
				Exit: libcontainerd.Exit{Code: 1 << 31, Time: long}}},
			{{ID: id, Pid: pid, Status: libcontainerd.TaskRunning},
				{ID: id, Pid: 1, Status: libcontainerd.TaskStopped, Exit: libcontainerd.Exit{Code: 9}}},
			{{ID: ""}, {ID: "../x"}},
			strangers,
		} {
			l.tasks.Store(&list)
			<-time.After(2 * time.Minute)
			if ctr.Status() != libcontainerd.StatusRunning || len(ctr.Execs()) != 1 {
				e.Fatalf("list %d: %v, execs %v", i, ctr.Status(), ctr.Execs())
			}
		}
		l.tasks.Store(nil)
		e.exits(ctr, "e1", 6)
		e.exits(ctr, initProcess, 7)
		e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExecAdded, libcontainerd.EventExecStarted,
			libcontainerd.EventExitProcess, libcontainerd.EventExit)
	})
}

// TestAnswerOfNoStatus has the daemon answer for a process without a status.
func TestAnswerOfNoStatus(t *testing.T) {
	withWrongDaemon(t, func(e *env, l *wrongDaemon) {
		ctr := e.started("sleep 1000; exit 7")
		e.exec(ctr, "e1", "sleep 900; exit 6", libcontainerd.StdioConfig{})
		for _, task := range []libcontainerd.Task{{}, {ID: "other", Pid: -7, Status: -1}, {Status: 1 << 20}} {
			l.task.Store(&task)
			l.tasks.Store(&[]libcontainerd.Task{})
			<-time.After(2 * time.Minute)
			e.status(ctr, libcontainerd.StatusRunning)
		}
		l.task.Store(nil)
		l.tasks.Store(nil)
		e.exits(ctr, "e1", 6)
		e.exits(ctr, initProcess, 7)
	})
}

// TestWaitBeatsUnknown has a Wait return the status just when a reconcile has found that
// the daemon no longer has the process.
func TestWaitBeatsUnknown(t *testing.T) {
	var waited atomic.Bool
	bubble(t, func(tap *Tap) {
		tap.After = func(_ context.Context, c Call, err error) error {
			if c.Op == "Wait" && !waited.Swap(true) {
				<-time.After(time.Minute) // meanwhile the task is deleted without the client
			}
			return err
		}
	}, func(e *env) {
		ctr := e.started("sleep 1; exit 7")
		<-time.After(2 * time.Second)
		_, err := e.Fake.Delete(e.ctx, ctr.ID(), initProcess)
		e.must(err)
		e.exits(ctr, initProcess, 7)
	})
}

// TestExecWaitInBackoff ends a container while the next Wait for one of its execs is far
// away, and the daemon can't be reached for a while.
func TestExecWaitInBackoff(t *testing.T) {
	var failing atomic.Bool
	bubble(t, func(tap *Tap) {
		tap.Before = func(_ context.Context, c Call) error {
			if c.Op == "Wait" && c.ProcessID == "e1" || c.Op == "Process" && failing.Load() {
				return errdefs.ErrUnavailable
			}
			return nil
		}
	}, func(e *env) {
		ctr := e.started("sleep 100; exit 7")
		e.exec(ctr, "e1", "sleep 99.9; exit 6", libcontainerd.StdioConfig{})
		e.Fake.FilterEvents(loseEvents)
		<-time.After(99 * time.Second)
		failing.Store(true)
		<-time.After(15 * time.Second)
		failing.Store(false)
		e.exits(ctr, "e1", 6)
		e.exits(ctr, initProcess, 7)
	})
}

// TestExecAfterALeftover starts an exec with the id of a leftover: no sweep may kill the
// new exec.
func TestExecAfterALeftover(t *testing.T) {
	bubble(t, nil, func(e *env) {
		ctr := e.started("sleep 100000")
		for _, late := range []bool{false, true} {
			id := fmt.Sprintf("late-%v", late)
			e.Fake.Fail("AddExec", 1, Fault{Err: errdefs.ErrInternal, Late: late})
			e.Fake.Fail("Delete", 1, Fault{Err: errdefs.ErrInternal})
			_, err := ctr.Exec(e.ctx, id, e.Process("sleep 1000"), libcontainerd.StdioConfig{})
			e.refused(err, errdefs.IsInternal)
			e.exec(ctr, id, "sleep 1000; exit 3", libcontainerd.StdioConfig{})
			<-time.After(2 * time.Minute)
		}
		if got := ctr.Execs(); len(got) != 2 {
			e.Fatalf("execs %v", got)
		}
	})
}

// TestForcedDeleteWhilePausing deletes a container whose pause is in progress. The frozen
// process takes the signal only when it is resumed.
func TestForcedDeleteWhilePausing(t *testing.T) {
	bubble(t, func(tap *Tap) {
		tap.Before = func(_ context.Context, c Call) error {
			if c.Op == "Kill" {
				<-time.After(time.Second) // the container is paused, and the answer not sent yet
			}
			return nil
		}
		tap.After = func(_ context.Context, c Call, err error) error {
			if c.Op == "Pause" {
				<-time.After(5 * time.Second)
			}
			return err
		}
	}, func(e *env) {
		ctr := e.started("sleep 100000")
		var pausing sync.WaitGroup
		pausing.Go(func() { e.must(ctr.Pause(e.ctx)) })
		synctest.Wait()
		e.status(ctr, libcontainerd.StatusPausing)
		ctx, cancel := context.WithTimeout(e.ctx, time.Hour)
		defer cancel()
		e.must(ctr.Delete(ctx, libcontainerd.DeleteOptions{Force: true}))
		pausing.Wait()
	})
}

// TestShutDownDuringStart ends the client during each call of a start. Nothing is left,
// whether the start or the shutdown is faster.
func TestShutDownDuringStart(t *testing.T) {
	for _, op := range []string{"CreateTask", "Start", "AddExec", "CreateContainer"} {
		t.Run(op, func(t *testing.T) {
			var stop atomic.Bool
			bubble(t, func(tap *Tap) {
				tap.After = func(_ context.Context, c Call, err error) error {
					if c.Op == op && stop.Load() {
						<-time.After(time.Second)
					}
					return err
				}
			}, func(e *env) {
				ctr := e.createTerminal("sleep 1000", true)
				if op == "AddExec" {
					e.start(ctr, libcontainerd.StdioConfig{Terminal: true})
				}
				stop.Store(true)
				var caller sync.WaitGroup
				caller.Go(func() {
					err := requestsByCall()[map[string]string{"Start": "CreateTask", "CreateTask": "CreateTask",
						"AddExec": "AddExec", "CreateContainer": "Stats"}[op]](e.ctx, e, ctr)
					e.refused(err,
						func(err error) bool { return errdefs.IsUnavailable(err) || errdefs.IsFailedPrecondition(err) })
				})
				<-time.After(100 * time.Millisecond)
				e.stop()
				caller.Wait()
				stop.Store(false)
				ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: ctr.Generation(), Pid: ctr.Pid()})
				<-time.After(time.Minute)
				e.must(e.consistent(false))
			})
		})
	}
}

// TestCallbacksEndTheirGoroutine has callbacks call runtime.Goexit in the middle of a
// start and of a drain.
func TestCallbacksEndTheirGoroutine(t *testing.T) {
	bubble(t, nil, func(e *env) {
		ctr := e.create("exit 7")
		var once sync.Once
		e.recorder.OnAttach = func(string, string, libcontainerd.Streams) error {
			once.Do(runtime.Goexit)
			return nil
		}
		var caller sync.WaitGroup
		caller.Go(func() { _, _ = ctr.Start(e.ctx, libcontainerd.StartOptions{}) })
		caller.Wait()
		e.nothingStarted(ctr, libcontainerd.StatusCreated)
		e.start(ctr, libcontainerd.StdioConfig{})
		e.exits(ctr, initProcess, 7)
	})
	drained := &drainer{}
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, NewHarness(t))
		e.stop()
		client, err := libcontainerd.New(e.Daemon, e.Stdio, drained)
		e.must(err)
		e.client = client
		e.begin()
		ctr := e.create("exit 7")
		_, err = ctr.Start(e.ctx, libcontainerd.StartOptions{})
		e.must(err)
		e.exits(ctr, initProcess, 7)
		e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}))
	})
	if n := drained.times.Load(); n != 1 {
		t.Errorf("drained %d times", n)
	}
}

// drainer is a Backend whose drain doesn't return.
type drainer struct {
	times atomic.Int32
}

func (d *drainer) AttachStreams(context.Context, libcontainerd.ProcessStreams) error {
	return nil
}
func (d *drainer) StateChanged(context.Context, libcontainerd.Event) error { return nil }
func (d *drainer) DrainStreams(context.Context, string, string) error {
	d.times.Add(1)
	runtime.Goexit()
	return errors.New("not reached")
}
