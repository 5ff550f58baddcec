package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var stateCases = []contractCase{
	{name: "state/two starts at once", run: twoStarts},
	{name: "state/start of a running one", run: startRunning},
	{name: "state/pause and resume", run: pauseResume},
	{name: "state/killed while paused", run: killPaused},
	{name: "state/killed while paused, and the resume fails", faults: true, run: killPausedInVain},
	{name: "state/force deleted while paused", run: deletePaused},
	{name: "state/pids and stats", run: pidsStats},
	{name: "state/command lines", run: commandLines},
	{name: "state/ids", run: badIDs},
	{name: "state/ids that begin alike", run: idsAlike},
	{name: "state/listing works while a call hangs", faults: true, run: listWhileHung},
}

func twoStarts(e *env) {
	ctr := e.create("sleep 1000")
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = ctr.Start(e.ctx, libcontainerd.StartOptions{}) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		e.Fatalf("errors %v", errs)
	}
	e.refused(errors.Join(errs...), errdefs.IsFailedPrecondition)
	e.status(ctr, libcontainerd.StatusRunning)
}

func startRunning(e *env) {
	ctr := e.started("sleep 1000")
	_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{})
	e.refused(err, errdefs.IsFailedPrecondition)
	for _, part := range []string{"start", ctr.ID(), "running"} {
		if !strings.Contains(err.Error(), part) {
			e.Fatalf("%q doesn't name %q", err, part)
		}
	}
	e.status(ctr, libcontainerd.StatusRunning)
}

func pauseResume(e *env) {
	ctr := e.started("sleep 1000")
	e.refused(ctr.Resume(e.ctx), errdefs.IsFailedPrecondition)
	e.must(ctr.Pause(e.ctx))
	e.status(ctr, libcontainerd.StatusPaused)
	e.refused(ctr.Pause(e.ctx), errdefs.IsFailedPrecondition)
	task, err := e.Daemon.Process(e.ctx, ctr.ID(), initProcess)
	if err != nil || task.Status != libcontainerd.TaskPaused {
		e.Fatalf("at the daemon: %+v, %v", task, err)
	}
	e.must(ctr.Resume(e.ctx))
	e.status(ctr, libcontainerd.StatusRunning)
	e.awaitEvent(ctr, libcontainerd.EventResumed)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventPaused, libcontainerd.EventResumed)
}

// kills are the two requests that kill a whole container.
var kills = []func(*env, *libcontainerd.Container) error{
	func(e *env, c *libcontainerd.Container) error { return c.Signal(e.ctx, initProcess, syscall.SIGKILL) },
	func(e *env, c *libcontainerd.Container) error { return c.KillAll(e.ctx, syscall.SIGKILL) },
}

func killPaused(e *env) {
	for _, kill := range kills {
		ctr := e.started("sleep 1000")
		e.must(ctr.Pause(e.ctx))
		e.must(kill(e, ctr))
		e.exits(ctr, initProcess, 137)
	}
}

// killPausedInVain has a resume fail that follows a kill. The caller is told, and kills again.
func killPausedInVain(e *env) {
	for _, kill := range kills {
		ctr := e.started("sleep 1000")
		e.must(ctr.Pause(e.ctx))
		e.Fake.Fail("Resume", 1, Fault{Err: fmt.Errorf("cannot thaw: %w", errdefs.ErrUnknown)})
		e.refused(kill(e, ctr), errdefs.IsUnknown)
		e.status(ctr, libcontainerd.StatusPaused)
		e.must(kill(e, ctr))
		e.exits(ctr, initProcess, 137)
		e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventPaused, libcontainerd.EventResumed,
			libcontainerd.EventExit)
	}
}

func deletePaused(e *env) {
	ctr := e.started("sleep 1000")
	e.must(ctr.Pause(e.ctx))
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}))
}

func pidsStats(e *env) {
	ctr := e.create("sleep 1000")
	_, err := ctr.Pids(e.ctx)
	e.refused(err, errdefs.IsFailedPrecondition)
	pid := e.start(ctr, libcontainerd.StdioConfig{})
	pids, err := ctr.Pids(e.ctx)
	e.must(err)
	if len(pids) == 0 || pids[0] != pid || ctr.Pid() != pid {
		e.Fatalf("pids %v, started as %d, kept as %d", pids, pid, ctr.Pid())
	}
	stats, err := ctr.Stats(e.ctx)
	e.must(err)
	if stats.PidsCurrent == 0 || stats.Time.IsZero() {
		e.Fatalf("stats %+v", stats)
	}
}

func commandLines(e *env) {
	const script = "echo started; cat; exit 7"
	ctr := e.create(script)
	_, err := ctr.Processes(e.ctx)
	e.refused(err, errdefs.IsFailedPrecondition)
	pid := e.start(ctr, libcontainerd.StdioConfig{Stdin: true})
	e.said(ctr, initProcess, "started\n")
	exec := e.exec(ctr, "e1", "echo too; sleep 1000; exit 3", libcontainerd.StdioConfig{})
	e.said(ctr, "e1", "too\n")
	all, err := ctr.Processes(e.ctx)
	e.must(err)
	args := map[int]string{}
	for _, p := range all {
		args[p.Pid] = strings.Join(p.Args, "|")
	}
	if !strings.HasSuffix(args[pid], "sh|-c|"+script) || !strings.Contains(args[exec], "sleep 1000; exit 3") {
		e.Fatalf("processes %+v; init is %d, the exec %d", all, pid, exec)
	}
}

func badIDs(e *env) {
	for _, id := range []string{"", ".", "..", "../x", "a/b", "a b", "é", strings.Repeat("x", 4096)} {
		_, err := e.client.Create(e.ctx, id, e.Spec("exit 0"), e.Options)
		e.refused(err, errdefs.IsInvalidArgument)
	}
	_, err := e.client.Create(e.ctx, "no-spec", nil, e.Options)
	e.refused(err, errdefs.IsInvalidArgument)
}

// idsAlike has containers where one id is the beginning of other ids. An OCI runtime may take such an id for an
// abbreviation.
func idsAlike(e *env) {
	short, missing := e.create("exit 3"), e.create("")
	var longer []*libcontainerd.Container
	for _, id := range []string{short.ID() + "0", short.ID() + "-1", missing.ID() + "0"} {
		ctr, err := e.client.Create(e.ctx, id, e.Spec("sleep 1000"), e.Options)
		e.must(err)
		e.start(ctr, libcontainerd.StdioConfig{})
		longer = append(longer, ctr)
	}
	ends := func() {
		e.start(short, libcontainerd.StdioConfig{})
		e.exits(short, initProcess, 3)
	}
	ends()
	e.must(longer[1].Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}))
	ends()
	e.must(short.Delete(e.ctx, libcontainerd.DeleteOptions{}))
	if _, err := missing.Start(e.ctx, libcontainerd.StartOptions{}); err == nil {
		e.Fatal("a missing binary was started")
	}
	for _, ctr := range []*libcontainerd.Container{longer[0], longer[2]} {
		exit, err := ctr.RunExec(e.ctx, "e1", e.Process("exit 4"), libcontainerd.StdioConfig{})
		if err != nil || exit.Code != 4 {
			e.Fatalf("exec in %s: %+v, %v", ctr.ID(), exit, err)
		}
	}
}

func listWhileHung(e *env) {
	e.Fake.Fail("Start", 1, Fault{Hang: true})
	hung, other := e.create("exit 1"), e.create("exit 2")
	ctx, cancel := context.WithCancel(e.ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := hung.Start(ctx, libcontainerd.StartOptions{})
		ended <- err
	}()
	for e.Fake.Calls("Start") == 0 {
		<-time.After(time.Millisecond)
	}
	e.start(other, libcontainerd.StdioConfig{})
	e.exits(other, initProcess, 2)
	if n := len(e.client.List()); n != 2 {
		e.Fatalf("%d containers", n)
	}
	e.status(hung, libcontainerd.StatusStarting)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		e.Fatalf("the hung start: %v", err)
	}
	e.status(hung, libcontainerd.StatusCreated)
}
