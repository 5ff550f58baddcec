package engine

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

func TestRunToItsEnd(t *testing.T) {
	r := newRig(t)
	id := r.create("one", "echo hello; exit 7")
	next := r.wait(id, container.WaitConditionNextExit)
	must(t, r.e.ContainerStart(t.Context(), id))
	if got := receive(t, next).StatusCode; got != 7 {
		t.Errorf("wait says %d", got)
	}
	if log := r.logs(id); log != "hello\n" {
		t.Errorf("the log has %q", log)
	}
	r.ended(id)
	if got := r.actions(id); !slices.Equal(got, []string{"create", "start", "die"}) {
		t.Errorf("events %v", got)
	}
	must(t, r.e.ContainerRemove(t.Context(), "one", RemoveOptions{}))
	r.empty()
}

func (r *rig) logs(id string) string {
	r.t.Helper()
	var out bytes.Buffer
	must(r.t, r.e.ContainerLogs(r.t.Context(), id, LogsOptions{
		Stdout: true, Stderr: true, Tail: -1,
		Open: func(bool) (io.Writer, io.Writer, error) { return &out, &out, nil },
	}))
	return out.String()
}

// TestLogsOfAnExitNotAnnounced reads the log of a container that has exited while its last
// output is not yet in the log. The request waits for that output.
func TestLogsOfAnExitNotAnnounced(t *testing.T) {
	r := newRig(t)
	id := r.run("", "echo last words; exit 3")
	r.ended(id)
	o := r.task(id)
	o.Change(func() { o.Announced-- }) // as long as the output is being drained
	log := make(chan string)
	go func() { log <- r.logs(id) }()
	select {
	case <-log:
		t.Error("the log was read before the exit was announced")
	case <-time.After(100 * time.Millisecond):
		o.Change(func() { o.AnnounceLocked(o.Rec) })
		if got := receive(t, log); got != "last words\n" {
			t.Errorf("the log has %q", got)
		}
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

func TestRunsAgain(t *testing.T) {
	r := newRig(t)
	id := r.create("", "echo x; exit 3")
	for range 5 {
		next := r.wait(id, container.WaitConditionNextExit)
		must(t, r.e.ContainerStart(t.Context(), id))
		if got := receive(t, next).StatusCode; got != 3 {
			t.Errorf("wait says %d", got)
		}
	}
	if log := r.logs(id); log != strings.Repeat("x\n", 5) {
		t.Errorf("the log has %q", log)
	}
}

// The exit is committed before the output is drained. A start or removal in between waits
// for the end of the run.
func TestStartRightAfterExit(t *testing.T) {
	r := newRig(t)
	id := r.create("", "echo x")
	for range 50 {
		must(t, r.e.ContainerStart(t.Context(), id))
		r.until(id, func(v containers.View) bool { return !v.Record.Running() })
	}
	r.until(id, func(v containers.View) bool { return !v.Record.Running() })
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

func TestFailedCleanUpIsRetried(t *testing.T) {
	for _, again := range []string{"start", "remove"} {
		t.Run(again, func(t *testing.T) {
			r := newRig(t)
			id := r.create("", "exit 0")
			r.daemon.Fail("DeleteContainer", 1, libFault(errdefs.ErrUnavailable))
			next := r.wait(id, container.WaitConditionNextExit)
			must(t, r.e.ContainerStart(t.Context(), id))
			receive(t, next)
			if again == "start" {
				must(t, r.e.ContainerStart(t.Context(), id))
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}

func TestFailedStart(t *testing.T) {
	for _, op := range []string{"CreateContainer", "CreateTask", "Start"} {
		t.Run(op, func(t *testing.T) {
			r := newRig(t)
			id := r.create("", "sleep 1000")
			removed, next := r.wait(id, container.WaitConditionRemoved), r.wait(id, container.WaitConditionNextExit)
			r.daemon.Fail(op, 1, libFault(errdefs.ErrInternal))
			if err := r.e.ContainerStart(t.Context(), id); !errdefs.IsInternal(err) {
				t.Fatalf("start: %v", err)
			}
			if got := receive(t, next).StatusCode; got != 128 {
				t.Errorf("wait says %d", got)
			}
			must(t, r.e.ContainerStart(t.Context(), id))
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			receive(t, removed)
			r.empty()
		})
	}
}

func TestCommandNotFound(t *testing.T) {
	r := newRig(t)
	id := r.create("", "", autoRemove, func(req *container.CreateRequest) { req.Cmd = []string{"nosuch"} })
	removed := r.wait(id, container.WaitConditionRemoved)
	err := r.e.ContainerStart(t.Context(), id)
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "executable file not found") {
		t.Errorf("start: %v", err)
	}
	if got := receive(t, removed).StatusCode; got != 127 {
		t.Errorf("wait says %d", got)
	}
	r.empty()
	if got := r.actions(id); !slices.Equal(got, []string{"create", "die", "destroy"}) {
		t.Errorf("events %v", got)
	}
}

// A missing file of the engine is not reported as a missing command.
func TestFailureOfTheEngineItself(t *testing.T) {
	r := newRig(t)
	id := r.create("", "exit 0")
	must(t, r.e.images.RemoveRootfs(t.Context(), id))
	if err := r.e.ContainerStart(t.Context(), id); err == nil || errdefs.IsInvalidArgument(err) {
		t.Errorf("start: %v", err)
	}
}

func TestAutoRemove(t *testing.T) {
	r := newRig(t)
	id := r.create("", "exit 5", autoRemove)
	removed := r.wait(id, container.WaitConditionRemoved)
	must(t, r.e.ContainerStart(t.Context(), id))
	if got := receive(t, removed).StatusCode; got != 5 {
		t.Errorf("wait says %d", got)
	}
	r.empty()
}

// Wait answers with the exit that it waited for, even if the container was started again.
func TestWaitAcrossRestart(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	for range 20 {
		var answers []<-chan container.WaitResponse
		for range 10 {
			answers = append(answers, r.wait(id, container.WaitConditionNextExit))
		}
		must(t, r.e.ContainerRestart(t.Context(), id, StopOptions{}))
		for _, a := range answers {
			if got := receive(t, a).StatusCode; got != 143 {
				t.Fatalf("wait says %d", got)
			}
		}
	}
}

func TestWaitConditions(t *testing.T) {
	r := newRig(t)
	id := r.create("", "sleep 1000")
	if got := receive(t, r.wait(id, "")).StatusCode; got != 0 {
		t.Errorf("a created container: %d", got)
	}
	if _, err := r.e.ContainerWait(t.Context(), id, "bogus"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bogus condition: %v", err)
	}
	must(t, r.e.ContainerStart(t.Context(), id))
	notRunning, removed := r.wait(id, container.WaitConditionNotRunning), r.wait(id, container.WaitConditionRemoved)
	ctx, cancel := context.WithCancel(t.Context())
	gone, err := r.e.ContainerWait(ctx, id, container.WaitConditionRemoved)
	must(t, err)
	cancel()
	if _, ok := <-gone; ok {
		t.Error("a client that is gone got an answer")
	}
	must(t, r.e.ContainerKill(t.Context(), id, "KILL"))
	if got := receive(t, notRunning).StatusCode; got != 137 {
		t.Errorf("not-running: %d", got)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	if got := receive(t, removed).StatusCode; got != 137 {
		t.Errorf("removed: %d", got)
	}
}

// A wait for "not running" ends with the next exit, also where the restart policy starts the container again.
func TestWaitWithRestartPolicy(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000", withPolicy("always", 0))
	notRunning := r.wait(id, container.WaitConditionNotRunning)
	must(t, r.daemon.Kill(t.Context(), id, libcontainerd.InitProcess, syscall.SIGKILL, false))
	if got := receive(t, notRunning).StatusCode; got != 137 {
		t.Errorf("not-running: %d", got)
	}
	r.until(id, func(v containers.View) bool { return v.Record.Running() && v.Record.Generation == 2 })
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
}

// A client that disconnects does not interrupt its request.
func TestClientGone(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		op      string
		running bool
		call    func(ctx context.Context, id string) error
		done    func(v containers.View) bool
	}{
		{"CreateTask", false, r.e.ContainerStart, func(v containers.View) bool { return v.Record.Running() }},
		{"Kill", true, func(ctx context.Context, id string) error { return r.e.ContainerStop(ctx, id, StopOptions{}) },
			func(v containers.View) bool {
				return v.Record.Status == record.StatusExited && v.Announced == v.Record.Exits
			}},
		{"CreateTask", true, func(ctx context.Context, id string) error {
			return r.e.ContainerRestart(ctx, id, StopOptions{})
		},
			func(v containers.View) bool { return v.Record.Running() && v.Record.Generation == 2 }},
		{"Pause", true, r.e.ContainerPause,
			func(v containers.View) bool { return v.Record.Status == record.StatusPaused }},
	} {
		id := r.create("", "sleep 1000")
		if c.running {
			must(t, r.e.ContainerStart(t.Context(), id))
		}
		before := r.daemon.Calls(c.op)
		r.daemon.Fail(c.op, 1, libHang())
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- c.call(ctx, id) }()
		eventually(t, func() bool { return r.daemon.Calls(c.op) > before })
		cancel()
		r.daemon.Release()
		must(t, receive(t, result))
		r.until(id, c.done)
	}
}

// Requests in pairs leave the container in a possible state, and none hangs.
func TestRequestsInPairs(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	name := "pair"
	requests := map[string]func() error{
		"start":   func() error { return r.e.ContainerStart(ctx, name) },
		"stop":    func() error { return r.e.ContainerStop(ctx, name, StopOptions{}) },
		"kill":    func() error { return r.e.ContainerKill(ctx, name, "") },
		"remove":  func() error { return r.e.ContainerRemove(ctx, name, RemoveOptions{}) },
		"force":   func() error { return r.e.ContainerRemove(ctx, name, RemoveOptions{Force: true}) },
		"pause":   func() error { return r.e.ContainerPause(ctx, name) },
		"unpause": func() error { return r.e.ContainerUnpause(ctx, name) },
		"restart": func() error { return r.e.ContainerRestart(ctx, name, StopOptions{}) },
		"rename":  func() error { return r.e.ContainerRename(ctx, name, "other") },
		"exec": func() error {
			id, err := r.e.ExecCreate(ctx, name, container.ExecCreateRequest{Cmd: []string{"sh", "-c", "sleep 0.001"}})
			if err == nil {
				err = r.e.ExecStart(ctx, id, exec.StartOptions{Detach: true})
			}
			return err
		},
	}
	for first, a := range requests {
		for second, b := range requests {
			for _, running := range []bool{false, true} {
				id := r.create(name, "sleep 1000")
				if running {
					must(t, r.e.ContainerStart(ctx, id))
				}
				var both sync.WaitGroup
				results := make([]error, 2)
				both.Go(func() { results[0] = a() })
				both.Go(func() { results[1] = b() })
				both.Wait()
				for i, err := range results {
					if errdefs.IsInternal(err) || errdefs.IsUnknown(err) {
						t.Errorf("%s and %s (running %v): the %d. says %v", first, second, running, i+1, err)
					}
				}
				if err := r.e.ContainerRemove(ctx, id, RemoveOptions{Force: true}); err != nil &&
					!errdefs.IsNotFound(err) {
					t.Fatalf("%s and %s: remove: %v", first, second, err)
				}
			}
		}
	}
	r.empty()
}
