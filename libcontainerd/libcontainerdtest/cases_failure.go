package libcontainerdtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

var failureCases = []contractCase{
	{name: "failure/binary is missing", run: missingBinary},
	{name: "failure/command can't be run", run: deniedCommand},
	{name: "failure/attach", run: attachFails},
	{name: "failure/attach panics", run: attachPanics},
	{name: "failure/context has ended", run: contextEnded},
	{name: "failure/second start", run: secondStartFails},
	{name: "failure/each call fails", faults: true, run: eachCallFails},
	{name: "failure/each call hangs", faults: true, run: eachCallHangs},
	{name: "failure/each call fails after its work", faults: true, run: eachCallFailsLate},
	{name: "failure/exec calls fail", faults: true, run: execCallsFail},
	{name: "failure/daemon goes down while starting", faults: true, run: downWhileStarting},
	{name: "failure/create completes after its undo", faults: true, run: createCompletesLate},
	{name: "failure/delete of a task is retried", faults: true, run: deleteRetried},
	{name: "failure/delete of a record", faults: true, run: recordDeleteFails},
	{name: "failure/record of a create without an answer", faults: true, run: leftoverCleared},
}

// createCompletesLate has the daemon complete a create of whose end nobody learned, when the client has looked for
// leftovers already. Neither start nor delete fails by it.
func createCompletesLate(e *env) {
	ctr := e.create("exit 3")
	late := func() {
		e.Fake.Fail("CreateTask", 1, Fault{Err: errdefs.ErrUnavailable})
		_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{})
		e.refused(err, errdefs.IsUnavailable)
		_, err = e.Fake.CreateTask(e.ctx, ctr.ID(), libcontainerd.TaskConfig{})
		e.must(err)
	}
	late()
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 3)
	late()
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}))
	if tasks, err := e.Daemon.Tasks(e.ctx); err != nil || len(tasks) > 0 {
		e.Fatalf("tasks left: %v, %v", tasks, err)
	}
}

func (e *env) nothingStarted(ctr *libcontainerd.Container, want libcontainerd.Status) {
	e.Helper()
	e.status(ctr, want)
	if left := e.Left(); len(left) > 0 {
		e.Fatalf("streams left: %v", left)
	}
	tasks, err := e.Daemon.Tasks(e.ctx)
	if i := slices.IndexFunc(tasks, func(t libcontainerd.Task) bool { return t.ID == ctr.ID() }); err != nil || i >= 0 {
		e.Fatalf("tasks left: %v, %v", tasks, err)
	}
}

func missingBinary(e *env) {
	ctr := e.create("")
	_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{Stdio: libcontainerd.StdioConfig{Stdin: true}})
	if err == nil || !strings.Contains(err.Error(), "does-not-exist") {
		e.Fatalf("the runtime's own message is not in %v", err)
	}
	e.notStarted(err, libcontainerd.ExitCommandNotFound)
	e.nothingStarted(ctr, libcontainerd.StatusCreated)
	e.wantEvents(ctr)
}

// notStarted compares the exit code in the StartError of a start.
func (e *env) notStarted(err error, code int) {
	e.Helper()
	var start *libcontainerd.StartError
	if !errors.As(err, &start) || start.ExitCode != code {
		e.Fatalf("exit code %d of %v, want %d", libcontainerd.StartExitCode(err), err, code)
	}
}

func deniedCommand(e *env) {
	directory := &specs.Process{Args: []string{"/"}, Cwd: "/"}
	spec := e.Spec("exit 0")
	spec.Process = directory
	ctr, err := e.client.Create(e.ctx, fmt.Sprintf("case-%04d", ids.Add(1)), spec, e.Options)
	e.must(err)
	_, err = ctr.Start(e.ctx, libcontainerd.StartOptions{})
	e.notStarted(err, libcontainerd.ExitCommandDenied)
	e.nothingStarted(ctr, libcontainerd.StatusCreated)
	running := e.started("sleep 1000")
	_, err = running.Exec(e.ctx, "denied", directory, libcontainerd.StdioConfig{})
	e.notStarted(err, libcontainerd.ExitCommandDenied)
	_, err = running.Exec(e.ctx, "missing", e.Process(""), libcontainerd.StdioConfig{})
	e.notStarted(err, libcontainerd.ExitCommandNotFound)
	e.status(running, libcontainerd.StatusRunning)
}

func attachFails(e *env) {
	ctr := e.create("exit 0")
	broken := errors.New("no place for streams")
	e.recorder.OnAttach = func(string, string, libcontainerd.Streams) error { return broken }
	_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{})
	e.refused(err, func(err error) bool { return errors.Is(err, broken) })
	e.nothingStarted(ctr, libcontainerd.StatusCreated)
	e.recorder.OnAttach = nil
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 0)
}

func attachPanics(e *env) {
	ctr := e.create("exit 0")
	e.recorder.OnAttach = func(string, string, libcontainerd.Streams) error { panic("attach") }
	if _, err := ctr.Start(e.ctx, libcontainerd.StartOptions{}); err == nil {
		e.Fatal("started")
	}
	e.recorder.OnAttach = nil
	e.nothingStarted(ctr, libcontainerd.StatusCreated)
}

func contextEnded(e *env) {
	ctr := e.create("exit 0")
	ctx, cancel := context.WithCancel(e.ctx)
	e.recorder.OnAttach = func(string, string, libcontainerd.Streams) error { cancel(); return nil }
	_, err := ctr.Start(ctx, libcontainerd.StartOptions{})
	e.refused(err, errdefs.IsCanceled)
	e.recorder.OnAttach = nil
	e.nothingStarted(ctr, libcontainerd.StatusCreated)
}

func secondStartFails(e *env) {
	ctr := e.started("exit 3")
	e.exits(ctr, initProcess, 3)
	e.recorder.OnAttach = func(string, string, libcontainerd.Streams) error { return errors.New("not now") }
	if _, err := ctr.Start(e.ctx, libcontainerd.StartOptions{}); err == nil {
		e.Fatal("started")
	}
	e.recorder.OnAttach = nil
	e.nothingStarted(ctr, libcontainerd.StatusStopped)
	e.exits(ctr, initProcess, 3)
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 3)
}

var startCalls = []string{"CreateTask", "Start"}

func eachCallFails(e *env) {
	broken := errors.New("broken")
	for _, op := range startCalls {
		ctr := e.create("sleep 1")
		e.Fake.Fail(op, 1, Fault{Err: broken})
		_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{Stdio: libcontainerd.StdioConfig{Stdin: true}})
		e.refused(err, func(err error) bool { return errors.Is(err, broken) })
		e.nothingStarted(ctr, libcontainerd.StatusCreated)
	}
	e.Fake.Fail("CreateContainer", 1, Fault{Err: broken})
	_, err := e.client.Create(e.ctx, "a", e.Spec("exit 0"), e.Options)
	e.refused(err, func(err error) bool { return errors.Is(err, broken) })
	_, err = e.client.Create(e.ctx, "a", e.Spec("exit 0"), e.Options)
	e.must(err)
}

func eachCallHangs(e *env) {
	for _, op := range startCalls {
		ctr := e.create("sleep 1")
		e.Fake.Fail(op, 1, Fault{Hang: true})
		ctx, cancel := context.WithTimeout(e.ctx, time.Second)
		_, err := ctr.Start(ctx, libcontainerd.StartOptions{})
		cancel()
		e.refused(err, errdefs.IsDeadlineExceeded)
		e.nothingStarted(ctr, libcontainerd.StatusCreated)
	}
}

func eachCallFailsLate(e *env) {
	for _, op := range startCalls {
		ctr := e.create("sleep 1000")
		e.Fake.Fail(op, 1, Fault{Late: true, Err: errdefs.ErrUnavailable})
		_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{})
		e.refused(err, errdefs.IsUnavailable)
		e.nothingStarted(ctr, libcontainerd.StatusCreated)
		e.wantEvents(ctr)
	}
}

func execCallsFail(e *env) {
	ctr := e.started("sleep 1000")
	for i, op := range []string{"AddExec", "Start"} {
		for j, f := range []Fault{{Err: errdefs.ErrInternal}, {Err: errdefs.ErrInternal, Late: true}} {
			e.Fake.Fail(op, 1, f)
			id := string(rune('a'+i)) + string(rune('a'+j))
			_, err := ctr.Exec(e.ctx, id, e.Process("sleep 1000"), libcontainerd.StdioConfig{Stdin: true})
			e.refused(err, errdefs.IsInternal)
			_, err = e.Daemon.Process(e.ctx, ctr.ID(), id)
			e.refused(err, errdefs.IsNotFound)
		}
	}
	if left := e.Left(); len(left) != 1 {
		e.Fatalf("streams %v", left)
	}
}

func downWhileStarting(e *env) {
	ctr := e.create("sleep 1000")
	e.Fake.Fail("Start", 1, Fault{Hang: true})
	ended := make(chan error, 1)
	go func() {
		_, err := ctr.Start(e.ctx, libcontainerd.StartOptions{})
		ended <- err
	}()
	for e.Fake.Calls("Start") == 0 {
		<-time.After(time.Millisecond)
	}
	e.Fake.SetDown(true)
	e.refused(<-ended, errdefs.IsUnavailable)
	e.status(ctr, libcontainerd.StatusCreated)
	e.Fake.SetDown(false)
	<-time.After(2 * time.Minute)
	e.nothingStarted(ctr, libcontainerd.StatusCreated)
}

func deleteRetried(e *env) {
	for n := range 3 {
		e.Fake.Fail("Delete", n+1, Fault{Err: errdefs.ErrInternal})
	}
	ctr := e.started("exit 2")
	e.exits(ctr, initProcess, 2)
	e.start(ctr, libcontainerd.StdioConfig{})
	e.exits(ctr, initProcess, 2)
	if n := e.Fake.Calls("Delete"); n < 4 {
		e.Fatalf("%d deletes", n)
	}
}

func recordDeleteFails(e *env) {
	ctr := e.started("exit 2")
	e.exits(ctr, initProcess, 2)
	e.Fake.Fail("DeleteContainer", 1, Fault{Err: errdefs.ErrInternal})
	e.refused(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}), errdefs.IsInternal)
	e.status(ctr, libcontainerd.StatusStopped)
	e.must(ctr.Delete(e.ctx, libcontainerd.DeleteOptions{}))
}

// leftoverCleared has the daemon store a record and lose the answer to the create. Deleting the record fails too,
// and ClearLeftover deletes it later.
func leftoverCleared(e *env) {
	const id = "leftover"
	e.Fake.Fail("CreateContainer", 1, Fault{Late: true, Err: errdefs.ErrUnavailable})
	e.Fake.Fail("DeleteContainer", 1, Fault{Err: errdefs.ErrUnavailable})
	_, err := e.client.Create(e.ctx, id, e.Spec("exit 0"), e.Options)
	e.refused(err, errdefs.IsUnavailable)
	e.stored(id, true)
	e.Fake.Fail("DeleteContainer", 1, Fault{Err: errdefs.ErrInternal})
	e.refused(e.client.ClearLeftover(id), errdefs.IsUnavailable)
	e.stored(id, true)
	e.must(e.client.ClearLeftover(id))
	e.stored(id, false)
	asked := e.Fake.Calls("Process") + e.Fake.Calls("DeleteContainer")
	e.must(e.client.ClearLeftover(id))
	e.must(e.client.ClearLeftover("another"))
	if more := e.Fake.Calls("Process") + e.Fake.Calls("DeleteContainer") - asked; more > 0 {
		e.Fatalf("asked %d times for what isn't there", more)
	}
}

// stored fails unless the daemon has, or hasn't, a container's record.
func (e *env) stored(id string, want bool) {
	e.Helper()
	got := false
	e.must(e.Daemon.Containers(e.ctx, func(other string) error {
		got = got || other == id
		return nil
	}))
	if got != want {
		e.Fatalf("a record of %s: %v, want %v", id, got, want)
	}
}
