package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// halfDone makes a container whose exit, with 3, is in the journal, and whose last output
// is still in the pipe.
func (r *rig) halfDone(more func(rec *record.Record)) (id string, crash func(tx *store.Tx) error) {
	r.t.Helper()
	id = r.run("", "cat; echo last words; exit 3", withStdin)
	seq := r.e.store.Newest()
	r.close()
	must(r.t, r.daemon.CloseIO(r.t.Context(), id, libcontainerd.InitProcess))
	_, err := r.daemon.Wait(r.t.Context(), id, libcontainerd.InitProcess)
	must(r.t, err)
	return id, edit(id, func(rec *record.Record) {
		rec.SetExited(3, "", false, time.Now())
		rec.DieSeq = seq // in place of the number of a die event
		more(rec)
	})
}

func nothingMore(*record.Record) {}

// TestSweepWhileTheDaemonIsAway restarts the runtime daemon while an engine sweeps.
func TestSweepWhileTheDaemonIsAway(t *testing.T) {
	for _, op := range []string{"Delete", "DeleteContainer"} {
		r := newRig(t)
		id, crash := r.halfDone(nothingMore)
		for n := range 3 {
			r.daemon.Fail(op, n+1, libFault(errdefs.ErrUnavailable))
		}
		r.reopen(crash)
		if got := r.logs(id); got != "last words\n" {
			t.Errorf("%s fails: the log has %q", op, got)
		}
		must(t, r.e.ContainerStart(t.Context(), id))
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
		r.empty()
	}
}

// TestSweepTask has tasks that belong to no container, running and ended, and one whose container somebody else has made.
func TestSweepTask(t *testing.T) {
	r := newRig(t)
	r.close()
	ctx := t.Context()
	for id, script := range map[string]string{"running": "sleep 1000", "ended": "exit 3", "external": "sleep 1000"} {
		must(t, r.daemon.CreateContainer(ctx, libcontainerd.Record{ID: id, Spec: &specs.Spec{Process: &specs.Process{Args: []string{"sh", "-c", script}}}}))
		_, err := r.daemon.CreateTask(ctx, id, libcontainerd.TaskConfig{})
		must(t, err)
		_, err = r.daemon.Start(ctx, id, libcontainerd.InitProcess)
		must(t, err)
		if id != "external" {
			r.daemon.DropRecord(id)
		}
	}
	_, err := r.daemon.Wait(ctx, "ended", libcontainerd.InitProcess)
	must(t, err)
	r.open()
	tasks, err := r.daemon.Tasks(ctx)
	if err != nil || len(tasks) != 1 || tasks[0].ID != "external" {
		t.Errorf("tasks: %+v, %v", tasks, err)
	}
}

// TestExitIsAnnouncedAfterTheSweep makes the daemon hang in the deletion of an ended task.
// A request for the exit is answered when the log is whole. A wait for the next exit does
// not get this one.
func TestExitIsAnnouncedAfterTheSweep(t *testing.T) {
	r := newRig(t)
	id, crash := r.halfDone(nothingMore)
	r.daemon.Fail("Delete", 1, libHang())
	r.reopen(crash)
	o, seq := r.task(id), r.task(id).Record().DieSeq
	answered := make(chan string, 3)
	whole := func(who string) {
		select {
		case <-o.swept:
		default:
			t.Errorf("%s was answered before the log was whole", who)
		}
		answered <- who
	}
	next := make(chan (<-chan container.WaitResponse), 1)
	go func() {
		answer := r.wait(id, "")
		if got := (<-answer).StatusCode; got != 3 {
			t.Errorf("the exit is %d", got)
		}
		whole("a waiter")
	}()
	go func() {
		next <- r.wait(id, container.WaitConditionNextExit)
		whole("a waiter for the next exit")
	}()
	go func() {
		err := r.e.Events(t.Context(), eventstream.Options{After: new(seq - 1)},
			func(eventstream.Event) error { return containers.ErrUnchanged })
		if !errors.Is(err, containers.ErrUnchanged) {
			t.Errorf("events: %v", err)
		}
		whole("a subscriber")
	}()
	select {
	case who := <-answered: // its error is reported already
		answered <- who
	case <-time.After(100 * time.Millisecond):
	}
	r.daemon.Release()
	for range cap(answered) {
		receive(t, answered)
	}
	later := receive(t, next)
	must(t, r.e.ContainerStart(t.Context(), id))
	must(t, r.e.ContainerKill(t.Context(), id, ""))
	if got := receive(t, later).StatusCode; got != 137 {
		t.Errorf("the next exit is %d", got)
	}
	r.ended(id)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

// TestStopEventOnceAfterTheSweep lets an engine finish a stop while it sweeps the
// container.
func TestStopEventOnceAfterTheSweep(t *testing.T) {
	r := newRig(t)
	id, crash := r.halfDone(func(rec *record.Record) { rec.Stop = &record.Stop{Sent: true} })
	r.daemon.Fail("Delete", 1, libHang())
	r.reopen(crash)
	early, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	// the record must keep its stop
	_ = r.task(id).Await(early, func(v containers.View) bool { return v.Record.Stop == nil })
	r.daemon.Release()
	must(t, r.task(id).awaitSwept(t.Context()))
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	stops := 0
	for _, action := range r.actions(id) {
		if action == "stop" {
			stops++
		}
	}
	if stops != 1 {
		t.Errorf("events %v", r.actions(id))
	}
	r.empty()
}

// TestAttachDuringCleanUp attaches to a container while its last run is cleaned up. The
// raw files of the next run must not be removed, since the next engine looks for them.
func TestAttachDuringCleanUp(t *testing.T) {
	r := newRig(t)
	id := r.create("", "echo x; cat", withStdin)
	must(t, r.e.ContainerStart(t.Context(), id))
	r.daemon.Fail("Delete", 1, libHang())
	must(t, r.e.ContainerKill(t.Context(), id, ""))
	r.until(id, func(v containers.View) bool { return v.Announced == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	opened, attached := make(chan struct{}), make(chan error, 1)
	go func() {
		attached <- r.e.ContainerAttach(ctx, id,
			AttachOptions{Stdout: true, Stream: true, Open: func(bool) (Streams, error) {
				close(opened)
				return Streams{Stdout: io.Discard}, nil
			}})
	}()
	select {
	case <-opened: // early enough to lose its files
	case <-time.After(100 * time.Millisecond):
	}
	r.daemon.Release()
	must(t, r.e.ContainerStart(t.Context(), id))
	receive(t, notify(opened))
	l, err := r.e.processes.Held(id, libcontainerd.InitProcess)
	must(t, err)
	file, err := l.Output.Raw(logs.Stdout)
	must(t, err)
	has, err := file.Stat()
	must(t, err)
	if finds, err := os.Stat(filepath.Join(r.e.rawDir(id), logs.Stdout)); err != nil || !os.SameFile(has, finds) {
		t.Errorf("the next engine doesn't find this run's output: %v", err)
	}
	cancel()
	_ = receive(t, attached) // cut off, with any error
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}

// lateOutputs are streams whose outputs can't be read yet.
type lateOutputs struct {
	withConn
	free <-chan struct{}
}

func (s lateOutputs) Create(ctx context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	streams, err := s.withConn.Create(ctx, c)
	return lateStreams{streams, s.free}, err
}

type lateStreams struct {
	libcontainerd.Streams
	free <-chan struct{}
}

func (s lateStreams) Stdout() libcontainerd.Output {
	return lateOutput{s.Streams.Stdout().(connOutput), s.free}
}

type lateOutput struct {
	connOutput
	free <-chan struct{}
}

func (o lateOutput) Splice(dst *os.File, off int64, most int) (int64, error) {
	<-o.free
	return o.connOutput.Splice(dst, off, most)
}

// endedLate makes a container that has ended with 143. Its output is not read before free
// is closed.
func (r *rig) endedLate() (id string, free chan struct{}) {
	r.t.Helper()
	id, free = r.create("", "echo last words; sleep 1000"), make(chan struct{})
	r.close()
	r.openWith(lateOutputs{withConn{r.streams}, free})
	must(r.t, r.e.ContainerStart(r.t.Context(), id))
	must(r.t, r.e.ContainerKill(r.t.Context(), id, "TERM"))
	r.until(id, func(v containers.View) bool { return !v.Record.Running() })
	return id, free
}

// TestNextExitIsNotTheLast waits for the next exit of a container that has ended, while
// its output is still being drained.
func TestNextExitIsNotTheLast(t *testing.T) {
	r := newRig(t)
	id, free := r.endedLate()
	next := r.wait(id, container.WaitConditionNextExit)
	close(free)
	must(t, r.e.ContainerStart(t.Context(), id))
	must(t, r.e.ContainerKill(t.Context(), id, "KILL"))
	if got := receive(t, next).StatusCode; got != 137 {
		t.Errorf("the next exit is %d", got)
	}
	r.ended(id)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

// TestLogsOfAnEndedContainer reads the log of a container that has ended, while its output
// is still being drained.
func TestLogsOfAnEndedContainer(t *testing.T) {
	for _, follow := range []bool{false, true} {
		r := newRig(t)
		id, free := r.endedLate()
		done := make(chan string, 1)
		go func() {
			var out bytes.Buffer
			err := r.e.ContainerLogs(t.Context(), id, LogsOptions{
				Stdout: true, Tail: -1, Follow: follow,
				Open: func(bool) (io.Writer, io.Writer, error) { return &out, nil, nil },
			})
			if err != nil {
				t.Error(err)
			}
			done <- out.String()
		}()
		select {
		case got := <-done:
			done <- got
		case <-time.After(100 * time.Millisecond):
		}
		close(free)
		if got := receive(t, done); got != "last words\n" {
			t.Errorf("follow %t: the log has %q", follow, got)
		}
		r.ended(id)
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
		r.empty()
	}
}

// TestAttachToAnEndedContainer attaches to a container that has ended, while its output is
// still being drained. The client gets the next run.
func TestAttachToAnEndedContainer(t *testing.T) {
	r := newRig(t)
	id, free := r.endedLate()
	opened, attached := make(chan struct{}), make(chan error, 1)
	var out bytes.Buffer
	go func() {
		attached <- r.e.ContainerAttach(t.Context(), id,
			AttachOptions{Stdout: true, Stream: true, Open: func(bool) (Streams, error) {
				close(opened)
				return Streams{Stdout: &out}, nil
			}})
	}()
	select {
	case <-opened:
	case <-time.After(100 * time.Millisecond):
	}
	close(free)
	receive(t, notify(opened))
	r.ended(id)
	select {
	case err := <-attached:
		t.Errorf("the client got the last run, and %v", err)
		attached <- err
	default:
	}
	must(t, r.e.ContainerStart(t.Context(), id))
	must(t, r.e.ContainerKill(t.Context(), id, "TERM"))
	must(t, receive(t, attached))
	if got := out.String(); got != "last words\n" {
		t.Errorf("%q", got)
	}
	r.ended(id)
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}
