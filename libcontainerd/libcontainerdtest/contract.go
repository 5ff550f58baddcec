package libcontainerdtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Harness is one combination of daemon and stdio under test. The function that makes a Harness registers its
// clean-up with t.Cleanup.
type Harness struct {
	Daemon libcontainerd.Daemon
	Stdio  libcontainerd.Stdio
	// Spec returns the spec of a container that runs sh -c script. With an empty script, the container's program
	// doesn't exist.
	Spec func(script string) *specs.Spec
	// Process returns the spec of an exec, in the same way.
	Process func(script string) *specs.Process
	// Options are the options of Create.
	Options libcontainerd.CreateOptions
	// Left lists the streams that Stdio has left. The suite fails unless there are none at the end of a case.
	Left func() []string
	// Fake is Daemon if that is the one in memory, else nil. The cases that inject faults need it.
	Fake *Daemon
}

// NewHarness returns the harness of the daemon and the stdio in memory.
func NewHarness(t *testing.T) Harness {
	s := &Stdio{}
	d := NewDaemon(s)
	t.Cleanup(d.Close)
	return Harness{
		Daemon: d, Stdio: s, Fake: d, Left: s.Left, Process: scriptProcess,
		Spec: func(script string) *specs.Spec { return &specs.Spec{Process: scriptProcess(script)} },
	}
}

func scriptProcess(script string) *specs.Process {
	if script == "" {
		return &specs.Process{Args: []string{"/does-not-exist"}, Cwd: "/"}
	}
	return &specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/"}
}

// contractCase is one case of the suite.
type contractCase struct {
	name string
	// faults marks a case that needs the daemon in memory.
	faults bool
	run    func(e *env)
}

// Without leaves out cases that a daemon can't pass.
type Without struct {
	// Case is the name of a case, or of a group of cases such as "checkpoint/".
	Case string
	// Reason says why the daemon can't pass them, for the summary.
	Reason string
}

func (w Without) means(name string) bool {
	return name == w.Case || (strings.HasSuffix(w.Case, "/") && strings.HasPrefix(name, w.Case))
}

// Run runs the suite in real time, without the cases that inject faults. It calls harness for each case. At the end
// it logs how many cases ran, and which were left out and why. A Without that names no case fails the test.
func Run(t *testing.T, harness func(t *testing.T) Harness, without ...Without) {
	ran, faults, left := 0, 0, make([]int, len(without))
	for _, c := range cases() {
		i := slices.IndexFunc(without, func(w Without) bool { return w.means(c.name) })
		switch {
		case c.faults:
			faults++
		case i >= 0:
			left[i]++
		default:
			ran++
			t.Run(c.name, func(t *testing.T) { c.run(newEnv(t, harness(t))) })
		}
	}
	t.Logf("contract: %d of %d cases ran; %d need the faults of the daemon in memory", ran, len(cases()), faults)
	for i, w := range without {
		t.Logf("contract: %d left out, %s: %s", left[i], w.Case, w.Reason)
		if left[i] == 0 {
			t.Errorf("contract: nothing is left out by %q", w.Case)
		}
	}
}

// RunVirtual runs the whole suite, each case in a bubble of testing/synctest. harness must return a Harness with a
// Fake.
func RunVirtual(t *testing.T, harness func(t *testing.T) Harness) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.run(newEnv(t, harness(t))) })
		})
	}
	t.Logf("contract: all %d cases ran", len(cases()))
}

func cases() []contractCase {
	return slices.Concat(runCases, execCases, stdinCases, stateCases, failureCases, eventCases, restoreCases,
		checkpointCases, stopCases, terminalCases, raceCases, pairCases)
}

// caseTimeout bounds a case in real time, virtualCaseTimeout one in virtual time.
const (
	caseTimeout        = 10 * time.Minute
	virtualCaseTimeout = 24 * time.Hour
)

func (h *Harness) timeout() time.Duration {
	if h.Fake != nil {
		return virtualCaseTimeout
	}
	return caseTimeout
}

// env is one case: a client that runs, and the events that it delivered.
type env struct {
	*testing.T
	Harness
	ctx      context.Context
	recorder *Recorder
	client   *libcontainerd.Client
	stop     func()
}

var ids atomic.Int64

// newEnv starts a client. At the end of the case it stops the client and checks that nothing is left.
func newEnv(t *testing.T, h Harness) *env {
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout())
	t.Cleanup(cancel)
	e := &env{T: t, Harness: h, ctx: ctx, recorder: &Recorder{}}
	t.Cleanup(e.finish)
	e.launch()
	e.await("the first reconcile", e.client.Ready())
	return e
}

// launch makes a new client of the same daemon and runs it.
func (e *env) launch() {
	e.Helper()
	e.prepare()
	e.begin()
}

// prepare makes a new client, which doesn't run yet.
func (e *env) prepare() {
	e.Helper()
	client, err := NewClient(e.Daemon, e.Stdio, e.recorder)
	e.must(err)
	e.client = client
}

// begin runs the client.
func (e *env) begin() {
	stop := RunClient(e.client)
	e.stop = func() {
		if err := stop(); err != nil {
			e.Errorf("Run: %v", err)
		}
		e.stop = func() {}
	}
}

// finish deletes the containers of the case, stops the client, and looks for leaks.
func (e *env) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), e.timeout())
	defer cancel()
	for _, ctr := range e.client.List() {
		if err := ctr.Delete(ctx, libcontainerd.DeleteOptions{Force: true}); err != nil {
			e.Errorf("at the end: %v", err)
		}
	}
	e.stop()
	e.recorder.Join()
	if err := e.recorder.Check(); err != nil {
		e.Errorf("order of events: %v", err)
	}
	e.checkNothingLeft(ctx)
}

func (e *env) checkNothingLeft(ctx context.Context) {
	tasks, err := e.Daemon.Tasks(ctx)
	if err != nil || len(tasks) > 0 {
		e.Errorf("tasks left: %v, %v", tasks, err)
	}
	err = e.Daemon.Containers(ctx, func(id string) error {
		e.Errorf("container left: %s", id)
		return nil
	})
	if err != nil {
		e.Error(err)
	}
	if left := e.Left(); len(left) > 0 {
		e.Errorf("streams left: %v", left)
	}
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) await(what string, done <-chan struct{}) {
	e.Helper()
	select {
	case <-done:
	case <-e.ctx.Done():
		e.Fatalf("waited too long for %s", what)
	}
}

// create makes a container that runs a script.
func (e *env) create(script string) *libcontainerd.Container {
	e.Helper()
	ctr, err := e.client.Create(e.ctx, fmt.Sprintf("case-%04d", ids.Add(1)), e.Spec(script), e.Options)
	e.must(err)
	return ctr
}

func (e *env) start(ctr *libcontainerd.Container, cfg libcontainerd.StdioConfig) int {
	e.Helper()
	pid, err := ctr.Start(e.ctx, libcontainerd.StartOptions{Stdio: cfg})
	e.must(err)
	if pid <= 0 {
		e.Fatalf("pid %d", pid)
	}
	e.wasTold(ctr, libcontainerd.EventStart, pid)
	return pid
}

// wasTold fails unless the backend has taken an event of a request that was answered.
func (e *env) wasTold(ctr *libcontainerd.Container, t libcontainerd.EventType, pid int) {
	e.Helper()
	if !slices.ContainsFunc(e.recorder.Events(ctr.ID()), func(ev libcontainerd.Event) bool {
		return ev.Type == t && ev.Pid == pid
	}) {
		e.Fatalf("%v of process %d was answered before the backend had taken the event", t, pid)
	}
}

// started is create and start, without stdin.
func (e *env) started(script string) *libcontainerd.Container {
	e.Helper()
	ctr := e.create(script)
	e.start(ctr, libcontainerd.StdioConfig{})
	return ctr
}

// exits waits for the exit of a process and compares its code.
func (e *env) exits(ctr *libcontainerd.Container, process string, code int) libcontainerd.Exit {
	e.Helper()
	exit, err := ctr.Wait(e.ctx, process)
	e.must(err)
	if exit.Unknown != "" || exit.Code != code {
		e.Fatalf("exit %+v, want code %d", exit, code)
	}
	if exit.Time.IsZero() {
		e.Fatal("an exit without a time")
	}
	return exit
}

// awaitEvent waits for an event of a type, and returns it.
func (e *env) awaitEvent(ctr *libcontainerd.Container, want libcontainerd.EventType) libcontainerd.Event {
	e.Helper()
	got, err := e.recorder.Await(e.ctx, ctr.ID(), func(ev libcontainerd.Event) bool { return ev.Type == want })
	e.must(err)
	return got
}

// wantEvents compares the types of all events of a container.
func (e *env) wantEvents(ctr *libcontainerd.Container, want ...libcontainerd.EventType) {
	e.Helper()
	if got := Types(e.recorder.Events(ctr.ID())); !slices.Equal(got, want) {
		e.Fatalf("events %v, want %v", got, want)
	}
}

// refused fails unless err has a class.
func (e *env) refused(err error, is func(error) bool) {
	e.Helper()
	if err == nil || !is(err) {
		e.Fatalf("error %v is not of the class", err)
	}
}

func (e *env) status(ctr *libcontainerd.Container, want libcontainerd.Status) {
	e.Helper()
	if got := ctr.Status(); got != want {
		e.Fatalf("status %v, want %v", got, want)
	}
}
