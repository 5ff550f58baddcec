package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var stopCases = []contractCase{
	{name: "stop/by its signal", run: stopBySignal},
	{name: "stop/by force after the grace", run: stopByForce},
	{name: "stop/asked before, and who is called", run: stopAskedBefore},
	{name: "stop/its context ends after the exit", run: stopLate},
	{name: "stop/two at once", run: stopTwo},
	{name: "stop/paused", run: stopPaused},
	{name: "stop/with execs", run: stopExecs},
	{name: "stop/never ran, has ended, runs again", run: stopStatuses},
	{name: "stop/while a pause hangs", faults: true, run: stopPausing},
	{name: "stop/paused, where that takes no signal", faults: true, run: stopDeafWhilePaused},
	{name: "stop/daemon doesn't answer", faults: true, run: stopUnavailable},
	{name: "run/exit of one start", run: runOnce},
	{name: "run/exit of an exec", run: runExec},
	{name: "run/context ends", run: runContextEnds},
	{name: "run/context of an exec ends", run: runExecContextEnds},
	{name: "run/create, run, delete", run: runContainer},
	{name: "run/context ends while the daemon is away", faults: true, run: runContextEndsAway},
}

// Scripts that write a line when they are ready for a signal.
const (
	obeys   = "trap \"exit 5\" TERM\necho ready\nsleep 1000 &\nwait"
	ignores = "trap \"\" TERM\necho ready\nsleep 1000"
)

// stopLate has the context of a stop end when the exit is known already: the exit counts. Again and again, since a
// choice among two would be right half of the time.
func stopLate(e *env) {
	ctr := e.create("exit 5")
	for range 12 {
		e.start(ctr, libcontainerd.StdioConfig{})
		e.exits(ctr, initProcess, 5)
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		if exit, err := ctr.Stop(ctx, libcontainerd.StopOptions{}); err != nil || exit.Code != 5 {
			e.Fatalf("stop: %+v, %v", exit, err)
		}
		if exit, err := ctr.Wait(ctx, initProcess); err != nil || exit.Code != 5 {
			e.Fatalf("wait: %+v, %v", exit, err)
		}
	}
}

// stopping starts a container with one of these scripts, and waits until it is ready.
func (e *env) stopping(script string) *libcontainerd.Container {
	e.Helper()
	ctr := e.started(script)
	e.said(ctr, initProcess, "ready\n")
	return ctr
}

// said waits for the output of a process.
func (e *env) said(ctr *libcontainerd.Container, process, want string) {
	e.Helper()
	for e.recorder.Output(ctr.ID(), process) != want {
		if e.ctx.Err() != nil {
			e.Fatalf("waited too long for %q; there is %q", want, e.recorder.Output(ctr.ID(), process))
		}
		<-time.After(5 * time.Millisecond)
	}
}

// stops stops a container, and compares its exit code.
func (e *env) stops(ctr *libcontainerd.Container, o libcontainerd.StopOptions, code int) libcontainerd.Exit {
	e.Helper()
	exit, err := ctr.Stop(e.ctx, o)
	e.must(err)
	if exit.Code != code || exit.Unknown != "" {
		e.Fatalf("exit %+v, want code %d", exit, code)
	}
	if again := e.exits(ctr, initProcess, code); again != exit {
		e.Fatalf("Stop returns %+v and Wait %+v", exit, again)
	}
	return exit
}

func stopBySignal(e *env) {
	ctr := e.stopping(obeys)
	e.stops(ctr, libcontainerd.StopOptions{Grace: e.timeout()}, 5)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
	other := e.started("sleep 1000")
	e.stops(other, libcontainerd.StopOptions{Signal: syscall.SIGKILL, Grace: e.timeout()}, 137)
	_, err := other.Stop(e.ctx, libcontainerd.StopOptions{Signal: -1})
	e.refused(err, errdefs.IsInvalidArgument)
}

func stopByForce(e *env) {
	e.stops(e.stopping(ignores), libcontainerd.StopOptions{Grace: 50 * time.Millisecond}, 137)
	e.stops(e.stopping(obeys), libcontainerd.StopOptions{Grace: -1}, 137)
}

func stopAskedBefore(e *env) {
	var sent []syscall.Signal
	o := libcontainerd.StopOptions{Grace: e.timeout(), Signaled: func(_ context.Context, sig syscall.Signal) error {
		sent = append(sent, sig)
		return nil
	}}
	e.stops(e.stopping(obeys), o, 5)
	o.AskedBefore, o.Grace = true, 50*time.Millisecond
	e.stops(e.stopping(obeys), o, 137)
	o.AskedBefore = false
	e.stops(e.stopping(ignores), o, 137)
	if want := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL}; !slices.Equal(sent, want) {
		e.Fatalf("signals %v, want %v", sent, want)
	}
	refused := errors.New("refused")
	ctr := e.stopping(ignores)
	o.Signaled = func(context.Context, syscall.Signal) error { return refused }
	if _, err := ctr.Stop(e.ctx, o); !errors.Is(err, refused) {
		e.Fatalf("the error of Signaled: %v", err)
	}
	e.stops(ctr, libcontainerd.StopOptions{Grace: -1}, 137)
}

func stopTwo(e *env) {
	ctr := e.stopping(obeys)
	exits, errs := make([]libcontainerd.Exit, 4), make([]error, 4)
	var all sync.WaitGroup
	for i := range exits {
		all.Go(func() { exits[i], errs[i] = ctr.Stop(e.ctx, libcontainerd.StopOptions{Grace: e.timeout()}) })
	}
	all.Wait()
	e.must(errors.Join(errs...))
	for _, exit := range exits {
		if exit != exits[0] || exit.Code != 5 {
			e.Fatalf("exits %+v", exits)
		}
	}
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
}

func stopPaused(e *env) {
	ctr := e.stopping(obeys)
	e.must(ctr.Pause(e.ctx))
	e.stops(ctr, libcontainerd.StopOptions{Grace: e.timeout()}, 5)
	stubborn := e.stopping(ignores)
	e.must(stubborn.Pause(e.ctx))
	e.stops(stubborn, libcontainerd.StopOptions{Grace: -1}, 137)
}

func stopExecs(e *env) {
	ctr := e.stopping(ignores)
	e.exec(ctr, "e1", "sleep 1000", libcontainerd.StdioConfig{})
	e.stops(ctr, libcontainerd.StopOptions{Grace: -1}, 137)
	e.exits(ctr, "e1", 137)
}

func stopStatuses(e *env) {
	ctr := e.create("exit 3")
	_, err := ctr.Stop(e.ctx, libcontainerd.StopOptions{})
	e.refused(err, errdefs.IsFailedPrecondition)
	e.start(ctr, libcontainerd.StdioConfig{})
	first := e.exits(ctr, initProcess, 3)
	if exit := e.stops(ctr, libcontainerd.StopOptions{}, 3); exit != first {
		e.Fatalf("%+v is another exit than %+v", exit, first)
	}
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 3)
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}))
	_, err = ctr.Stop(e.ctx, libcontainerd.StopOptions{})
	e.refused(err, errdefs.IsNotFound)
}

func stopPausing(e *env) {
	ctr := e.stopping(obeys)
	e.Fake.Fail("Pause", 1, Fault{Hang: true})
	paused := make(chan error, 1)
	go func() { paused <- ctr.Pause(e.ctx) }()
	for ctr.Status() != libcontainerd.StatusPausing {
		<-time.After(time.Millisecond)
	}
	e.stops(ctr, libcontainerd.StopOptions{Grace: time.Second}, 5)
	e.Fake.Release()
	if err := <-paused; err == nil {
		e.Fatal("what has ended was paused")
	}
}

// stopDeafWhilePaused has the daemon refuse signals to a container that is paused or being paused, as gVisor does.
func stopDeafWhilePaused(e *env) {
	deaf := Fault{Err: fmt.Errorf("cannot signal a paused container: %w", errdefs.ErrUnknown)}
	ctr := e.stopping(obeys)
	e.must(ctr.Pause(e.ctx))
	e.Fake.Fail("Kill", 1, deaf)
	e.stops(ctr, libcontainerd.StopOptions{Grace: e.timeout()}, 5)
	ctr = e.stopping(ignores)
	e.Fake.Fail("Pause", 1, Fault{Hang: true})
	paused := make(chan error, 1)
	go func() { paused <- ctr.Pause(e.ctx) }()
	for ctr.Status() != libcontainerd.StatusPausing {
		<-time.After(time.Millisecond)
	}
	e.Fake.Fail("Kill", 1, deaf)
	deleted, kills := make(chan error, 1), e.Fake.Calls("Kill")
	go func() { deleted <- ctr.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}) }()
	for e.Fake.Calls("Kill") == kills {
		<-time.After(time.Millisecond)
	}
	e.Fake.Release()
	e.must(errors.Join(<-paused, <-deleted))
	running := e.started("sleep 1000")
	e.Fake.Fail("Kill", 1, deaf)
	e.Fake.Fail("Kill", 2, deaf)
	e.refused(running.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}), errdefs.IsUnknown)
	e.status(running, libcontainerd.StatusRunning)
}

func stopUnavailable(e *env) {
	ctr := e.stopping(obeys)
	e.Fake.SetDown(true)
	_, err := ctr.Stop(e.ctx, libcontainerd.StopOptions{})
	e.refused(err, errdefs.IsUnavailable)
	e.Fake.SetDown(false)
	e.Fake.Fail("Kill", 1, Fault{Hang: true})
	ctx, cancel := context.WithTimeout(e.ctx, time.Second)
	defer cancel()
	_, err = ctr.Stop(ctx, libcontainerd.StopOptions{})
	e.refused(err, errdefs.IsDeadlineExceeded)
	e.status(ctr, libcontainerd.StatusRunning)
	e.stops(ctr, libcontainerd.StopOptions{}, 5)
}

func runOnce(e *env) {
	ctr := e.create("echo hello; exit 6")
	for range 2 {
		exit, err := ctr.Run(e.ctx, libcontainerd.StartOptions{})
		if err != nil || exit.Code != 6 || exit.Time.IsZero() || e.recorder.Output(ctr.ID(), initProcess) != "hello\n" {
			e.Fatalf("%+v, %v, output %q", exit, err, e.recorder.Output(ctr.ID(), initProcess))
		}
	}
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{})) // closes the streams after the exit
	missing := e.create("")
	exit, err := missing.Run(e.ctx, libcontainerd.StartOptions{})
	if err == nil || exit != (libcontainerd.Exit{}) {
		e.Fatalf("%+v, %v", exit, err)
	}
	e.nothingStarted(missing, libcontainerd.StatusCreated)
}

func runExec(e *env) {
	ctr := e.started("sleep 1000")
	for i := range 5 {
		exit, err := ctr.RunExec(e.ctx, fmt.Sprintf("e%d", i), e.Process(fmt.Sprintf("exit %d", i)),
			libcontainerd.StdioConfig{})
		if err != nil || exit.Code != i {
			e.Fatalf("exec %d: %+v, %v", i, exit, err)
		}
	}
	_, err := ctr.RunExec(e.ctx, "missing", e.Process(""), libcontainerd.StdioConfig{})
	if err == nil {
		e.Fatal("a missing binary was started")
	}
	e.status(ctr, libcontainerd.StatusRunning)
}

// endsAfter returns a context that ends once an event was delivered.
func (e *env) endsAfter(ctr *libcontainerd.Container, event libcontainerd.EventType) context.Context {
	ctx, cancel := context.WithCancelCause(e.ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		_, err := e.recorder.Await(ctx, ctr.ID(), func(ev libcontainerd.Event) bool { return ev.Type == event })
		cancel(errors.Join(errGivenUp, err))
	})
	e.Cleanup(watching.Wait)
	return ctx
}

var errGivenUp = errors.New("given up")

func runContextEnds(e *env) {
	ctr := e.create(ignores)
	exit, err := ctr.Run(e.endsAfter(ctr, libcontainerd.EventStart), libcontainerd.StartOptions{})
	e.refused(err, func(err error) bool { return errors.Is(err, errGivenUp) })
	if exit != e.exits(ctr, initProcess, 137) {
		e.Fatalf("exit %+v", exit)
	}
	e.nothingStarted(ctr, libcontainerd.StatusStopped)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
}

func runExecContextEnds(e *env) {
	ctr := e.started("sleep 1000")
	exit, err := ctr.RunExec(e.endsAfter(ctr, libcontainerd.EventExecStarted), "e1", e.Process(ignores),
		libcontainerd.StdioConfig{})
	e.refused(err, func(err error) bool { return errors.Is(err, errGivenUp) })
	if exit.Code != 137 || exit.Time.IsZero() {
		e.Fatalf("exit %+v", exit)
	}
	_, err = ctr.Wait(e.ctx, "e1")
	e.refused(err, errdefs.IsNotFound) // Wait doesn't know an exec of RunExec
	if left := e.Left(); len(left) != 1 {
		e.Fatalf("streams %v", left)
	}
	e.status(ctr, libcontainerd.StatusRunning)
}

func runContainer(e *env) {
	id := fmt.Sprintf("case-%04d", ids.Add(1))
	for range 2 {
		exit, err := e.client.RunContainer(e.ctx, id, e.Spec("echo hello; exit 6"), e.Options,
			libcontainerd.StartOptions{})
		if err != nil || exit.Code != 6 || e.recorder.Output(id, initProcess) != "hello\n" {
			e.Fatalf("%+v, %v, output %q", exit, err, e.recorder.Output(id, initProcess))
		}
		_, err = e.client.Get(id)
		e.refused(err, errdefs.IsNotFound)
		e.recorder.forget(id) // generations begin again
	}
	_, err := e.client.RunContainer(e.ctx, id, e.Spec(""), e.Options, libcontainerd.StartOptions{})
	if err == nil {
		e.Fatal("a missing binary was started")
	}
	_, err = e.client.Get(id)
	e.refused(err, errdefs.IsNotFound)
}

func runContextEndsAway(e *env) {
	ctr := e.create("sleep 100000")
	ctx, cancel := context.WithTimeout(e.ctx, time.Minute)
	defer cancel()
	time.AfterFunc(59*time.Second, func() { e.Fake.SetDown(true) })
	time.AfterFunc(70*time.Second, func() { e.Fake.SetDown(false) })
	exit, err := ctr.Run(ctx, libcontainerd.StartOptions{})
	e.refused(err, errdefs.IsDeadlineExceeded)
	if exit != e.exits(ctr, initProcess, 137) {
		e.Fatalf("exit %+v", exit)
	}
}
