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

// Harness is one combination of daemon and stdio under test. What it needs to
// end, it ends by t.Cleanup.
type Harness struct {
	Daemon libcontainerd.Daemon
	Stdio  libcontainerd.Stdio
	// Spec is a container that runs sh -c script; with a script of "" a binary
	// that doesn't exist.
	Spec func(script string) *specs.Spec
	// Process is an exec of the same kind.
	Process func(script string) *specs.Process
	// Options are for Create.
	Options libcontainerd.CreateOptions
	// Left lists what stdio left behind.
	Left func() []string
	// Fake is the daemon where it is the one in memory; cases that need its
	// faults are part of the suite only then.
	Fake *Daemon
}

// NewHarness is the harness of the daemon and the stdio in memory.
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
	// faults marks a case that needs a fake daemon.
	faults bool
	run    func(e *env)
}

// Without leaves cases out of a run that a daemon can't pass.
type Without struct {
	// Case is a case's name, or a group of them such as "checkpoint/".
	Case string
	// Reason is why, for the summary.
	Reason string
}

func (w Without) means(name string) bool {
	return name == w.Case || (strings.HasSuffix(w.Case, "/") && strings.HasPrefix(name, w.Case))
}

// Run runs the suite with the machine's time, each case with a harness of its
// own. At the end it logs how many cases there were, and what was left out and
// why. A Without that names no case is an error.
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
	t.Logf("contract: %d of %d cases ran; %d take the faults of the daemon in memory", ran, len(cases()), faults)
	for i, w := range without {
		t.Logf("contract: %d left out, %s: %s", left[i], w.Case, w.Reason)
		if left[i] == 0 {
			t.Errorf("contract: nothing is left out by %q", w.Case)
		}
	}
}

// RunVirtual runs the suite, and the cases that need a fake daemon's faults,
// each in a bubble of testing/synctest.
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
		checkpointCases, stopCases, raceCases, pairCases)
}

// patient is how long a case waits for what must happen; with virtual time,
// which costs nothing, it is virtualPatient.
const (
	patient        = 3 * time.Minute
	virtualPatient = 24 * time.Hour
)

func (h *Harness) patience() time.Duration {
	if h.Fake != nil {
		return virtualPatient
	}
	return patient
}

// env is one case: a client that runs, and what it told.
type env struct {
	*testing.T
	Harness
	ctx      context.Context
	recorder *Recorder
	client   *libcontainerd.Client
	stop     func()
}

var ids atomic.Int64

// newEnv starts a client. At the end of the case it is stopped, and nothing
// may be left.
func newEnv(t *testing.T, h Harness) *env {
	ctx, cancel := context.WithTimeout(context.Background(), h.patience())
	t.Cleanup(cancel)
	e := &env{T: t, Harness: h, ctx: ctx, recorder: &Recorder{}}
	t.Cleanup(e.finish)
	e.launch()
	e.await("the first reconcile", e.client.Ready())
	return e
}

// launch makes a new client over the same daemon and runs it.
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

// finish deletes what the case left, stops the client, and looks for leaks.
func (e *env) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), e.patience())
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
	return pid
}

// started is create and start, without stdin.
func (e *env) started(script string) *libcontainerd.Container {
	e.Helper()
	ctr := e.create(script)
	e.start(ctr, libcontainerd.StdioConfig{})
	return ctr
}

// exits waits for a process and compares its code.
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

// told waits until the backend was told of a type of event.
func (e *env) told(ctr *libcontainerd.Container, want libcontainerd.EventType) libcontainerd.Event {
	e.Helper()
	got, err := e.recorder.Await(e.ctx, ctr.ID(), func(ev libcontainerd.Event) bool { return ev.Type == want })
	e.must(err)
	return got
}

// tells compares all events of a container.
func (e *env) tells(ctr *libcontainerd.Container, want ...libcontainerd.EventType) {
	e.Helper()
	if got := Types(e.recorder.Events(ctr.ID())); !slices.Equal(got, want) {
		e.Fatalf("events %v, want %v", got, want)
	}
}

// refused wants an error of a class.
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
