package libcontainerdtest

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var restoreCases = []contractCase{
	{name: "restore/running", run: restoreRunning},
	{name: "restore/ended meanwhile", run: restoreEnded},
	{name: "restore/ran out of memory meanwhile", faults: true, run: restoreOOM},
	{name: "restore/paused", run: restorePaused},
	{name: "restore/execs", run: restoreExecs},
	{name: "restore/stdin was to be closed", run: restoreStdin},
	{name: "restore/exit was not taken", run: restoreNotTaken},
	{name: "restore/daemon doesn't know it", run: restoreUnknown},
	{name: "restore/exit was taken, daemon forgot it", run: restoreTaken},
	{name: "restore/a start that was not delivered", run: restoreUndelivered},
	{name: "restore/from the events alone", run: restoreFromEvents},
	{name: "restore/nonsense", run: restoreNonsense},
}

// restarted replaces the client by a new one, like an engine that restarts. It restores a container before it runs
// the new client.
func (e *env) restarted(ctr *libcontainerd.Container, opts libcontainerd.RestoreOptions) *libcontainerd.Container {
	e.Helper()
	e.stop()
	e.prepare()
	defer e.begin()
	opts.CreateOptions = e.Options
	restored, err := e.client.Restore(e.ctx, ctr.ID(), opts)
	e.must(err)
	return restored
}

func restoreRunning(e *env) {
	ctr := e.create("cat; exit 7")
	pid := e.start(ctr, libcontainerd.StdioConfig{Stdin: true})
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid,
		Stdio: libcontainerd.StdioConfig{Stdin: true}})
	e.await("ready", e.client.Ready())
	e.status(ctr, libcontainerd.StatusRunning)
	if ctr.Pid() != pid || ctr.Generation() != 1 {
		e.Fatalf("pid %d, generation %d", ctr.Pid(), ctr.Generation())
	}
	e.must(ctr.CloseStdin(initProcess))
	e.exits(ctr, initProcess, 7)
	if ev := e.awaitEvent(ctr, libcontainerd.EventExit); ev.Recovered {
		e.Fatalf("event %+v of an exit that the client saw", ev)
	}
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 7)
}

// endsAtDaemon kills a container without the client.
func (e *env) endsAtDaemon(id string) {
	e.Helper()
	e.must(e.Daemon.Kill(e.ctx, id, initProcess, syscall.SIGKILL, false))
	e.endedAtDaemon(id)
}

// endedAtDaemon waits until the daemon knows that a container has exited. The daemon has published the event by
// then, so a client that connects later doesn't see the event.
func (e *env) endedAtDaemon(id string) {
	e.Helper()
	_, err := e.Daemon.Wait(e.ctx, id, initProcess)
	e.must(err)
}

func restoreEnded(e *env) {
	ctr := e.create("echo before; sleep 1000")
	pid := e.start(ctr, libcontainerd.StdioConfig{})
	e.stop()
	e.endsAtDaemon(ctr.ID())
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid})
	e.exits(ctr, initProcess, 137)
	if ev := e.awaitEvent(ctr, libcontainerd.EventExit); !ev.Recovered || ev.Pid != pid || ev.Generation != 1 {
		e.Fatalf("event %+v", ev)
	}
	e.status(ctr, libcontainerd.StatusStopped)
}

func restoreOOM(e *env) {
	ctr := e.started("sleep 1000")
	pid := ctr.Pid()
	e.stop()
	e.Fake.OOMKill(ctr.ID())
	e.endedAtDaemon(ctr.ID())
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid})
	if exit := e.exits(ctr, initProcess, 137); !exit.OOMKilled {
		e.Fatalf("exit %+v", exit)
	}
	if ev := e.awaitEvent(ctr, libcontainerd.EventExit); !ev.Recovered {
		e.Fatalf("event %+v", ev)
	}
}

func restorePaused(e *env) {
	ctr := e.started("sleep 1000")
	e.must(ctr.Pause(e.ctx))
	pid := ctr.Pid()
	// The engine died before EventPaused was delivered.
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid})
	e.await("ready", e.client.Ready())
	e.status(ctr, libcontainerd.StatusPaused)
	e.recorder.forget(ctr.ID())
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid, Paused: true})
	e.await("ready", e.client.Ready())
	e.status(ctr, libcontainerd.StatusPaused)
	e.must(ctr.Resume(e.ctx))
	e.awaitEvent(ctr, libcontainerd.EventResumed)
	e.recorder.forget(ctr.ID())
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{Force: true}))
	e.recorder.forget(ctr.ID())
}

func restoreExecs(e *env) {
	ctr := e.started("sleep 1000")
	runs := e.exec(ctr, "runs", "sleep 1000", libcontainerd.StdioConfig{})
	ended := e.exec(ctr, "ended", "sleep 1000", libcontainerd.StdioConfig{})
	pid := ctr.Pid()
	e.stop()
	e.must(e.Daemon.Kill(e.ctx, ctr.ID(), "ended", syscall.SIGKILL, false))
	_, err := e.Daemon.Wait(e.ctx, ctr.ID(), "ended")
	e.must(err)
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid, Execs: []libcontainerd.RestoreExec{
		{ID: "runs", Pid: runs}, {ID: "ended", Pid: ended},
	}})
	e.exits(ctr, "ended", 137)
	e.must(ctr.Signal(e.ctx, "runs", syscall.SIGKILL))
	e.exits(ctr, "runs", 137)
	e.status(ctr, libcontainerd.StatusRunning)
}

func restoreStdin(e *env) {
	ctr := e.create("cat; exit 7")
	pid := e.start(ctr, libcontainerd.StdioConfig{Stdin: true})
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid,
		Stdio: libcontainerd.StdioConfig{Stdin: true}, StdinClosed: true})
	e.exits(ctr, initProcess, 7)
}

// restoreFromEvents restarts the client again and again, with what its events say.
func restoreFromEvents(e *env) {
	withStdin := libcontainerd.StdioConfig{Stdin: true}
	ctr := e.create("cat; exit 7")
	again := func() {
		e.Helper()
		opts, err := e.recorder.Remembered(ctr.ID(), e.Options)
		e.must(err)
		ctr = e.restarted(ctr, opts)
		e.await("ready", e.client.Ready())
	}
	again()
	e.status(ctr, libcontainerd.StatusCreated)
	pid := e.start(ctr, withStdin)
	e.exec(ctr, "open", "cat; exit 4", withStdin)
	e.exec(ctr, "closed", "cat; sleep 1000", withStdin)
	e.must(ctr.CloseStdin("closed"))
	if ev := e.awaitEvent(ctr, libcontainerd.EventStdinClosed); ev.ProcessID != "closed" {
		e.Fatalf("%+v", ev)
	}
	again()
	if e.status(ctr, libcontainerd.StatusRunning); ctr.Pid() != pid {
		e.Fatalf("pid %d", ctr.Pid())
	}
	e.must(ctr.Pause(e.ctx))
	again()
	e.status(ctr, libcontainerd.StatusPaused)
	e.must(ctr.Resume(e.ctx))
	e.must(ctr.CloseStdin("open"))
	e.exits(ctr, "open", 4)
	again()
	if execs := ctr.Execs(); !slices.Equal(execs, []string{"closed"}) {
		e.Fatalf("execs %v", execs)
	}
	e.must(ctr.CloseStdin(initProcess))
	e.exits(ctr, initProcess, 7)
	again()
	e.status(ctr, libcontainerd.StatusStopped)
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 7)
	if n := len(e.events(ctr, libcontainerd.EventStdinClosed)); n != 3 {
		e.Fatalf("stdin was closed %d times", n)
	}
}

// events returns the events of a type.
func (e *env) events(ctr *libcontainerd.Container, t libcontainerd.EventType) []libcontainerd.Event {
	return slices.DeleteFunc(e.recorder.Events(ctr.ID()), func(ev libcontainerd.Event) bool { return ev.Type != t })
}

func restoreNotTaken(e *env) {
	refusals := make(chan struct{}, 100)
	e.recorder.OnEvent = func(ev libcontainerd.Event) error {
		if ev.Type == libcontainerd.EventExit {
			refusals <- struct{}{}
			return errors.New("no space")
		}
		return nil
	}
	ctr := e.create("exit 7")
	pid := e.start(ctr, libcontainerd.StdioConfig{})
	<-refusals
	e.stop()
	e.recorder.OnEvent = nil
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid})
	e.exits(ctr, initProcess, 7)
}

func restoreUnknown(e *env) {
	ctr := e.started("sleep 1000")
	pid := ctr.Pid()
	e.stop()
	e.endsAtDaemon(ctr.ID())
	_, err := e.Daemon.Delete(e.ctx, ctr.ID(), initProcess)
	e.must(err)
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid})
	exit, err := ctr.Wait(e.ctx, initProcess)
	e.must(err)
	if exit.Unknown == "" {
		e.Fatalf("exit %+v was invented", exit)
	}
}

func restoreTaken(e *env) {
	ctr := e.started("sleep 1000")
	pid := ctr.Pid()
	e.stop()
	e.endsAtDaemon(ctr.ID())
	_, err := e.Daemon.Delete(e.ctx, ctr.ID(), initProcess)
	e.must(err)
	// The engine died before DrainStreams returned.
	known := libcontainerd.Exit{Code: 137, Time: time.Now().Add(-time.Minute).UTC()}
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{Generation: 1, Pid: pid, Exit: &known})
	if exit := e.exits(ctr, initProcess, 137); exit != known {
		e.Fatalf("exit %+v", exit)
	}
	if ev := e.awaitEvent(ctr, libcontainerd.EventExit); ev.Exit != known || !ev.Recovered {
		e.Fatalf("event %+v", ev)
	}
	e.start(ctr, libcontainerd.StdioConfig{})
}

func restoreUndelivered(e *env) {
	ctr := e.started("sleep 1000")
	// The engine died before EventStart was delivered.
	ctr = e.restarted(ctr, libcontainerd.RestoreOptions{})
	e.recorder.forget(ctr.ID())
	e.await("ready", e.client.Ready())
	e.status(ctr, libcontainerd.StatusCreated)
	if tasks, err := e.Daemon.Tasks(e.ctx); err != nil || len(tasks) > 0 {
		e.Fatalf("tasks left: %v, %v", tasks, err)
	}
	_, err := e.Stdio.Restore(e.ctx, libcontainerd.StreamsConfig{ContainerID: ctr.ID(), ProcessID: initProcess})
	e.must(err)
	e.start(ctr, libcontainerd.StdioConfig{}) // replaces the streams of the first start
}

func restoreNonsense(e *env) {
	for _, opts := range []libcontainerd.RestoreOptions{
		{Pid: -1},
		{Pid: 5},
		{Execs: []libcontainerd.RestoreExec{{ID: "e", Pid: 3}}},
		{Generation: 1, Exit: &libcontainerd.Exit{}},
		{Generation: 1, Pid: 5, Execs: []libcontainerd.RestoreExec{{ID: "../e"}}},
		{Generation: 1, Pid: 5, Execs: []libcontainerd.RestoreExec{{ID: "e"}, {ID: "e"}}},
	} {
		_, err := e.client.Restore(e.ctx, "r1", opts)
		e.refused(err, errdefs.IsInvalidArgument)
	}
	_, err := e.client.Restore(e.ctx, "r1", libcontainerd.RestoreOptions{Generation: 1, Pid: 5})
	e.refused(err, errdefs.IsNotFound)
	if n := len(e.client.List()); n != 0 {
		e.Fatalf("%d containers", n)
	}
}
