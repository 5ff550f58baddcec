package libcontainerdtest

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

const initProcess = libcontainerd.InitProcess

var runCases = []contractCase{
	{name: "run/exit 0", run: func(e *env) { e.runs("exit 0", 0) }},
	{name: "run/exit 7", run: func(e *env) { e.runs("exit 7", 7) }},
	{name: "run/output is complete when wait returns", run: outputComplete},
	{name: "run/killed", run: killed15},
	{name: "run/wait before, during and after the exit", run: waitAnytime},
	{name: "run/a second time", run: runTwice},
	{name: "run/at once after the exit", run: restartAtOnce},
	{name: "run/detached", run: detached},
	{name: "run/twenty at once", run: twenty},
	{name: "run/delete needs force while running", run: deleteRunning},
	{name: "run/created is replaced at the daemon", run: replaceRecord},
}

// runs runs a script and compares its exit code.
func (e *env) runs(script string, code int) {
	ctr := e.create(script)
	e.status(ctr, libcontainerd.StatusCreated)
	pid := e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, code)
	e.status(ctr, libcontainerd.StatusStopped)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
	events := e.recorder.Events(ctr.ID())
	for _, ev := range events {
		if ev.Pid != pid || ev.Generation != 1 || ev.ProcessID != initProcess || ev.Recovered || ev.Time.IsZero() {
			e.Fatalf("event %+v, pid %d", ev, pid)
		}
	}
	if events[1].Exit.Code != code {
		e.Fatalf("exit event %+v", events[1])
	}
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}))
	_, err := e.client.Get(ctr.ID())
	e.refused(err, errdefs.IsNotFound)
}

func outputComplete(e *env) {
	line := strings.Repeat("x", 1000)
	ctr := e.started(strings.Repeat("echo "+line+"; ", 50) + "exit 3")
	e.exits(ctr, initProcess, 3)
	if got := e.recorder.Output(ctr.ID(), initProcess); got != strings.Repeat(line+"\n", 50) {
		e.Fatalf("%d bytes of output", len(got))
	}
}

func killed15(e *env) {
	ctr := e.started("sleep 1000")
	e.must(ctr.Signal(e.ctx, initProcess, syscall.SIGKILL))
	e.exits(ctr, initProcess, 137)
	e.refused(ctr.Signal(e.ctx, initProcess, syscall.SIGKILL), errdefs.IsFailedPrecondition)
	other := e.started("sleep 1000")
	e.must(other.KillAll(e.ctx, syscall.SIGKILL))
	e.exits(other, initProcess, 137)
	e.refused(other.Signal(e.ctx, initProcess, 0), errdefs.IsInvalidArgument)
}

func waitAnytime(e *env) {
	ctr := e.create("sleep 0.2; exit 5")
	_, err := ctr.Wait(e.ctx, initProcess)
	e.refused(err, errdefs.IsFailedPrecondition)
	e.start(ctr, libcontainerd.StdioConfig{})
	short, cancel := context.WithTimeout(e.ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := ctr.Wait(short, initProcess); !errdefs.IsDeadlineExceeded(err) {
		e.Fatalf("a bounded wait: %v", err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if exit, err := ctr.Wait(e.ctx, initProcess); err != nil || exit.Code != 5 {
				e.Errorf("wait: %+v, %v", exit, err)
			}
		})
	}
	wg.Wait()
	e.exits(ctr, initProcess, 5)
	_, err = ctr.Wait(e.ctx, "none")
	e.refused(err, errdefs.IsNotFound)
}

func runTwice(e *env) {
	ctr := e.started("exit 1")
	e.exits(ctr, initProcess, 1)
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 1)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit, libcontainerd.EventStart,
		libcontainerd.EventExit)
	if g := ctr.Generation(); g != 2 {
		e.Fatalf("generation %d", g)
	}
}

func restartAtOnce(e *env) {
	ctr := e.started("exit 1")
	for range 5 {
		e.exits(ctr, initProcess, 1)
		e.start(ctr, libcontainerd.StdioConfig{})
	}
	e.exits(ctr, initProcess, 1)
}

func detached(e *env) {
	ctr := e.create("echo nobody; cat; exit 4")
	e.start(ctr, libcontainerd.StdioConfig{Detached: true})
	e.exits(ctr, initProcess, 4)
	if got := e.recorder.Output(ctr.ID(), initProcess); got != "" {
		e.Fatalf("output %q", got)
	}
}

func twenty(e *env) {
	var wg sync.WaitGroup
	for i := range 20 {
		ctr := e.create("echo here; exit 9")
		wg.Go(func() {
			if _, err := ctr.Start(e.ctx, libcontainerd.StartOptions{}); err != nil {
				e.Errorf("start %d: %v", i, err)
				return
			}
			exit, err := ctr.Wait(e.ctx, initProcess)
			if err != nil || exit.Code != 9 || e.recorder.Output(ctr.ID(), initProcess) != "here\n" {
				e.Errorf("container %d: %+v, %v, %q", i, exit, err, e.recorder.Output(ctr.ID(), initProcess))
			}
			if err := ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}); err != nil {
				e.Error(err)
			}
		})
	}
	wg.Wait()
}

func deleteRunning(e *env) {
	ctr := e.started("sleep 1000")
	e.refused(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}), errdefs.IsFailedPrecondition)
	e.status(ctr, libcontainerd.StatusRunning)
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}))
	e.status(ctr, libcontainerd.StatusDeleted)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
	_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{})
	e.refused(err, errdefs.IsNotFound)
}

func replaceRecord(e *env) {
	id := e.create("exit 1").ID()
	_, err := e.client.Create(e.ctx, id, e.Spec("exit 2"), e.Options)
	e.refused(err, errdefs.IsAlreadyExists)
	e.stop()
	e.launch() // a new engine, which doesn't know the container
	ctr, err := e.client.Create(e.ctx, id, e.Spec("exit 3"), e.Options)
	e.must(err)
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 3)
}
