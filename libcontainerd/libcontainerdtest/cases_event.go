package libcontainerdtest

import (
	"errors"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var eventCases = []contractCase{
	{name: "event/callback fails three times", run: callbackFails},
	{name: "event/callback panics once", run: callbackPanics},
	{name: "event/callback always panics", faults: true, run: callbackAlwaysPanics},
	{name: "event/callback ends its goroutine", run: callbackGoexits},
	{name: "event/a stuck callback delays no other container", run: callbackStuck},
	{name: "event/a request is answered when its event is taken", run: answeredWhenTaken},
	{name: "event/task stays until the exit is taken", run: taskStays},
	{name: "event/all events lost", faults: true, run: eventsLost},
	{name: "event/wait lost, event arrives", faults: true, run: waitLostEventArrives},
	{name: "event/wait and event lost", faults: true, run: waitAndEventLost},
	{name: "event/an exec's wait and event lost, two answers fail", faults: true, run: execAskedAgain},
	{name: "event/repeated", faults: true, run: eventsRepeated},
	{name: "event/of an earlier generation", faults: true, run: eventsOfEarlier},
	{name: "event/nonsense", faults: true, run: eventsNonsense},
	{name: "event/subscription cut", faults: true, run: subscriptionCut},
	{name: "event/daemon gone and back", faults: true, run: daemonGoneAndBack},
	{name: "event/daemon gone while a process ends", faults: true, run: endsWhileDown},
	{name: "event/daemon forgets a task", faults: true, run: daemonForgets},
	{name: "event/exit overtakes start", faults: true, run: exitOvertakesStart},
	{name: "event/out of memory comes first", faults: true, run: oomFirst},
	{name: "event/paused by someone else", faults: true, run: pausedElsewhere},
	{name: "event/late pause", faults: true, run: latePause},
}

func callbackFails(e *env) {
	var refused atomic.Int32
	e.recorder.OnEvent = func(ev libcontainerd.Event) error {
		if ev.Type == libcontainerd.EventExit && refused.Add(1) <= 3 {
			return errors.New("not now")
		}
		return nil
	}
	ctr := e.started("exit 1")
	e.exits(ctr, initProcess, 1)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
	if n := refused.Load(); n != 4 {
		e.Fatalf("called %d times", n)
	}
}

func callbackPanics(e *env) {
	var panicked atomic.Bool
	e.recorder.OnEvent = func(ev libcontainerd.Event) error {
		if ev.Type == libcontainerd.EventExit && !panicked.Swap(true) {
			panic("once")
		}
		return nil
	}
	ctr := e.started("exit 1")
	e.exits(ctr, initProcess, 1)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
}

func callbackAlwaysPanics(e *env) {
	ctr := e.create("exit 1")
	e.recorder.OnEvent = func(ev libcontainerd.Event) error {
		if ev.Generation == 1 && ev.Type == libcontainerd.EventExit {
			panic("always")
		}
		return nil
	}
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 1)
	e.wantEvents(ctr, libcontainerd.EventStart)
	other := e.started("exit 2")
	e.exits(other, initProcess, 2)
}

func callbackGoexits(e *env) {
	ctr := e.create("exit 1")
	var gone atomic.Bool
	e.recorder.OnEvent = func(ev libcontainerd.Event) error {
		if ev.Type == libcontainerd.EventStart && !gone.Swap(true) {
			runtime.Goexit()
		}
		return nil
	}
	_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{})
	e.must(err)
	e.exits(ctr, initProcess, 1)
	// The callback ended its goroutine, so the recorder doesn't have the first start. Look at the second one.
	e.recorder.forget(ctr.ID())
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 1)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
}

// forget removes the events of a container.
func (r *Recorder) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.events[:0]
	for _, e := range r.events {
		if e.ContainerID != id {
			kept = append(kept, e)
		}
	}
	r.events = kept
}

func callbackStuck(e *env) {
	stuck := e.create("exit 1")
	release := make(chan struct{})
	e.recorder.OnEvent = func(ev libcontainerd.Event) error {
		if ev.ContainerID == stuck.ID() {
			<-release
		}
		return nil
	}
	answered := make(chan error, 1)
	go func() {
		_, err := stuck.Start(e.ctx, libcontainerd.StartOptions{})
		answered <- err
	}()
	other := e.started("exit 2")
	e.exits(other, initProcess, 2)
	e.wantEvents(stuck)
	close(release)
	e.must(<-answered)
	e.exits(stuck, initProcess, 1)
}

func taskStays(e *env) {
	ctr := e.create("exit 1")
	release, asked := make(chan struct{}), make(chan struct{}, 1)
	e.recorder.OnEvent = func(ev libcontainerd.Event) error {
		if ev.Type == libcontainerd.EventExit {
			asked <- struct{}{}
			<-release
		}
		return nil
	}
	e.start(ctr, libcontainerd.StdioConfig{})
	<-asked
	task, err := e.Daemon.Process(e.ctx, ctr.ID(), initProcess)
	if err != nil || task.Status != libcontainerd.TaskStopped || task.Exit.Code != 1 {
		e.Errorf("at the daemon: %+v, %v", task, err)
	}
	close(release)
	e.exits(ctr, initProcess, 1)
}

func loseEvents(libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent { return nil }

func eventsLost(e *env) {
	e.Fake.FilterEvents(loseEvents)
	ctr := e.started("exit 7")
	e.exits(ctr, initProcess, 7)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
}

func waitLostEventArrives(e *env) {
	e.Fake.Fail("Wait", 1, Fault{Hang: true})
	ctr := e.create("sleep 1; exit 7")
	begun := time.Now()
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 7)
	if took := time.Since(begun); took > 5*time.Second {
		e.Fatalf("found after %v", took)
	}
}

func waitAndEventLost(e *env) {
	e.Fake.FilterEvents(loseEvents)
	e.Fake.Fail("Wait", 1, Fault{Hang: true})
	ctr := e.started("sleep 1; exit 7")
	e.exits(ctr, initProcess, 7)
	if ev := e.awaitEvent(ctr, libcontainerd.EventExit); !ev.Recovered {
		e.Fatalf("event %+v isn't marked as recovered", ev)
	}
}

// execAskedAgain has an exec end with its container, while the daemon's first two answers for the exec are errors.
func execAskedAgain(e *env) {
	ctr := e.started("sleep 30; exit 7")
	<-time.After(time.Second) // the Wait for the init process has begun
	e.Fake.Fail("Wait", 1, Fault{Hang: true})
	e.exec(ctr, "e1", "sleep 1000", libcontainerd.StdioConfig{})
	e.Fake.FilterEvents(loseEvents)
	for n := range 2 {
		e.Fake.Fail("Process", n+1, Fault{Err: errdefs.ErrInternal})
	}
	e.exits(ctr, "e1", 137)
	e.exits(ctr, initProcess, 7)
	if n := e.Fake.Calls("Process"); n != 3 {
		e.Fatalf("%d calls", n)
	}
}

func eventsRepeated(e *env) {
	e.Fake.FilterEvents(func(ev libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent {
		return []libcontainerd.DaemonEvent{ev, ev, ev}
	})
	ctr := e.started("sleep 1; exit 7")
	e.exec(ctr, "e1", "exit 1", libcontainerd.StdioConfig{})
	e.exits(ctr, "e1", 1)
	e.exits(ctr, initProcess, 7)
	<-time.After(time.Minute)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExecAdded, libcontainerd.EventExecStarted,
		libcontainerd.EventExitProcess, libcontainerd.EventExit)
}

func eventsOfEarlier(e *env) {
	ctr := e.create("sleep 10; exit 7")
	first := e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 7)
	second := e.start(ctr, libcontainerd.StdioConfig{})
	late := libcontainerd.Exit{Code: 137, Time: time.Now()}
	for _, pid := range []int{first, second} { // the second pid is wrong
		e.Fake.Publish(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonExit, ContainerID: ctr.ID(),
			ProcessID: initProcess, Pid: pid, Exit: late})
	}
	<-time.After(5 * time.Second)
	e.status(ctr, libcontainerd.StatusRunning)
	e.exits(ctr, initProcess, 7)
}

func eventsNonsense(e *env) {
	ctr := e.started("sleep 10; exit 7")
	for _, id := range []string{"", "nobody", ctr.ID()} {
		for _, process := range []string{"", "nobody", initProcess} {
			for kind := range libcontainerd.DaemonDeleted + 2 {
				e.Fake.Publish(libcontainerd.DaemonEvent{Type: kind, ContainerID: id, ProcessID: process, Pid: -5})
				e.Fake.Publish(libcontainerd.DaemonEvent{Type: kind, ContainerID: id, ProcessID: process})
			}
		}
	}
	e.exits(ctr, initProcess, 7)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
}

func subscriptionCut(e *env) {
	ctr := e.started("sleep 60; exit 7")
	for range 5 {
		e.Fake.CutSubscriptions()
		<-time.After(5 * time.Second)
	}
	if n := e.Fake.Calls("Subscribe"); n < 6 {
		e.Fatalf("%d subscriptions", n)
	}
	e.exits(ctr, initProcess, 7)
}

func daemonGoneAndBack(e *env) {
	ctr := e.started("sleep 600; exit 7")
	e.Fake.SetDown(true)
	_, err := ctr.Pids(e.ctx)
	e.refused(err, errdefs.IsUnavailable)
	<-time.After(time.Minute)
	e.status(ctr, libcontainerd.StatusRunning)
	e.Fake.SetDown(false)
	<-time.After(time.Minute)
	e.must(ctr.Signal(e.ctx, initProcess, syscall.SIGTERM))
	e.exits(ctr, initProcess, 143)
	if ev := e.awaitEvent(ctr, libcontainerd.EventExit); ev.Recovered {
		e.Fatalf("event %+v was seen live", ev)
	}
}

func endsWhileDown(e *env) {
	ctr := e.started("sleep 30; exit 7")
	e.exec(ctr, "e1", "sleep 20; exit 3", libcontainerd.StdioConfig{})
	e.Fake.SetDown(true)
	<-time.After(40 * time.Second)
	e.status(ctr, libcontainerd.StatusRunning)
	e.Fake.SetDown(false)
	e.exits(ctr, initProcess, 7)
	e.exits(ctr, "e1", 3)
	for _, ev := range e.recorder.Events(ctr.ID())[3:] {
		if !ev.Recovered {
			e.Fatalf("event %+v isn't marked as recovered", ev)
		}
	}
}

func daemonForgets(e *env) {
	ctr := e.started("sleep 1000")
	e.exec(ctr, "e1", "sleep 1000", libcontainerd.StdioConfig{})
	e.Fake.FilterEvents(loseEvents)
	e.Fake.Forget(ctr.ID())
	for _, process := range []string{initProcess, "e1"} {
		exit, err := ctr.Wait(e.ctx, process)
		e.must(err)
		if exit.Unknown == "" {
			e.Fatalf("%s: exit %+v was invented", process, exit)
		}
	}
	e.start(ctr, libcontainerd.StdioConfig{})
}

func exitOvertakesStart(e *env) {
	e.Fake.Fail("Start", 1, Fault{Late: true}) // Start returns when the process may have ended
	for range 50 {
		ctr := e.started("exit 7")
		e.exits(ctr, initProcess, 7)
		e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventExit)
	}
}

func oomFirst(e *env) {
	for _, lose := range []bool{false, true} {
		e.Fake.FilterEvents(nil)
		if lose {
			e.Fake.FilterEvents(loseEvents)
		}
		ctr := e.started("sleep 1000")
		e.Fake.OOMKill(ctr.ID())
		if exit := e.exits(ctr, initProcess, 137); !exit.OOMKilled {
			e.Fatalf("exit %+v", exit)
		}
		e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventOOM, libcontainerd.EventExit)
	}
}

func pausedElsewhere(e *env) {
	ctr := e.started("sleep 1000")
	e.must(e.Daemon.Pause(e.ctx, ctr.ID()))
	e.awaitEvent(ctr, libcontainerd.EventPaused)
	e.status(ctr, libcontainerd.StatusPaused)
	e.Fake.FilterEvents(loseEvents)
	e.must(e.Daemon.Resume(e.ctx, ctr.ID()))
	e.awaitEvent(ctr, libcontainerd.EventResumed)
	e.status(ctr, libcontainerd.StatusRunning)
}

func latePause(e *env) {
	ctr := e.started("sleep 1000")
	e.must(ctr.Pause(e.ctx))
	e.must(ctr.Resume(e.ctx))
	e.Fake.Publish(libcontainerd.DaemonEvent{Type: libcontainerd.DaemonPaused, ContainerID: ctr.ID(),
		ProcessID: initProcess})
	<-time.After(time.Minute)
	e.status(ctr, libcontainerd.StatusRunning)
	e.wantEvents(ctr, libcontainerd.EventStart, libcontainerd.EventPaused, libcontainerd.EventResumed)
}
