package engine

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

func TestRestore(t *testing.T) {
	r := newRig(t)
	runs, ends := r.run("runs", "sleep 1000"), r.run("ends", "cat; exit 7", withStdin)
	paused := r.run("paused", "sleep 1000")
	must(t, r.e.ContainerPause(t.Context(), paused))
	idle := r.create("idle", "exit 0")
	r.close()
	must(t, r.daemon.CloseIO(t.Context(), ends, libcontainerd.InitProcess))
	_, err := r.daemon.Wait(t.Context(), ends, libcontainerd.InitProcess)
	must(t, err)
	r.open()
	r.ended(ends)
	for id, want := range map[string]record.Status{runs: record.StatusRunning, ends: record.StatusExited,
		paused: record.StatusPaused, idle: record.StatusCreated} {
		if got := r.task(id).Record(); got.Status != want {
			t.Errorf("%s is %s", got.Name, got.Status)
		}
	}
	if got := r.task(ends).Record().ExitCode; got != 7 {
		t.Errorf("exit code %d", got)
	}
	if n := r.recovered(ends, "die"); n != 1 {
		t.Errorf("%d recovered die events", n)
	}
	must(t, r.e.ContainerKill(t.Context(), runs, ""))
	must(t, r.e.ContainerUnpause(t.Context(), paused))
	for _, id := range []string{runs, ends, paused, idle} {
		must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	}
	r.empty()
}

// recovered counts the events of an action that the engine found out later.
func (r *rig) recovered(id, action string) int {
	n := 0
	for c := r.e.store.Cursor(0); ; {
		ev, ok, err := c.Poll()
		must(r.t, err)
		if !ok {
			return n
		}
		if ev.ID == id && ev.Action == action && ev.Recovered {
			n++
		}
	}
}

// After a reboot the journal says that a container runs, but there is no process.
func TestRestoreAfterReboot(t *testing.T) {
	r := newRig(t)
	id, removed := r.run("", "sleep 1000"), r.run("", "sleep 1000", autoRemove)
	r.close()
	for _, c := range []string{id, removed} {
		r.daemon.Forget(c)
		must(t, r.daemon.DeleteContainer(t.Context(), c))
		s, err := r.streams.Restore(t.Context(),
			libcontainerd.StreamsConfig{ContainerID: c, ProcessID: libcontainerd.InitProcess})
		must(t, err)
		must(t, s.Close())
	}
	r.keeper = newFakeKeeper()
	r.open()
	r.ended(id)
	if rec := r.task(id).Record(); rec.Status != record.StatusExited || rec.ExitUnknown == "" ||
		rec.ShownExitCode() != 255 {
		t.Errorf("%s, code %d, unknown %q", rec.Status, rec.ShownExitCode(), rec.ExitUnknown)
	}
	eventually(t, func() bool { _, err := r.e.find(removed); return errdefs.IsNotFound(err) })
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

// The engine was killed between the start at the daemon and the one in the journal. The
// user got no answer.
func TestStartWithoutEvent(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	r.reopen(edit(id, func(rec *record.Record) { rec.Status, rec.Pid, rec.Generation = record.StatusCreated, 0, 0 }))
	if held := r.keeper.keys(); len(held) > 0 {
		t.Errorf("the keeper holds %v", held)
	}
	must(t, r.e.ContainerStart(t.Context(), id))
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}

// The engine was killed between the exit in the journal and the drain. The next engine
// drains the output.
func TestExitHalfDone(t *testing.T) {
	for _, auto := range []bool{false, true} {
		r := newRig(t)
		id := r.run("", "cat; echo last words; exit 3", withStdin,
			func(req *container.CreateRequest) { req.HostConfig.AutoRemove = auto })
		r.close()
		must(t, r.daemon.CloseIO(t.Context(), id, libcontainerd.InitProcess))
		_, err := r.daemon.Wait(t.Context(), id, libcontainerd.InitProcess)
		must(t, err)
		r.reopen(edit(id, func(rec *record.Record) { rec.SetExited(3, "", false, time.Now()) }))
		if !auto {
			if log := r.logs(id); log != "last words\n" {
				t.Errorf("the log has %q", log)
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
		}
		r.empty()
	}
}

// TestLogsWaitForTheSweep makes the daemon hang in the deletion of a task whose last
// output no engine has read. A request for the log waits for that output.
func TestLogsWaitForTheSweep(t *testing.T) {
	r := newRig(t)
	id := r.run("", "cat; echo last words; exit 3", withStdin)
	r.close()
	must(t, r.daemon.CloseIO(t.Context(), id, libcontainerd.InitProcess))
	_, err := r.daemon.Wait(t.Context(), id, libcontainerd.InitProcess)
	must(t, err)
	r.daemon.Fail("Delete", 1, libHang())
	r.reopen(edit(id, func(rec *record.Record) { rec.SetExited(3, "", false, time.Now()) }))
	log := make(chan string)
	go func() { log <- r.logs(id) }()
	select {
	case got := <-log:
		t.Errorf("%q, and the output wasn't read yet", got)
	case <-time.After(100 * time.Millisecond):
		r.daemon.Release()
		if got := <-log; got != "last words\n" {
			t.Errorf("the log has %q", got)
		}
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{}))
	r.empty()
}

func TestRemovalHalfDone(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	created := r.create("", "exit 0")
	r.reopen(
		edit(id, func(rec *record.Record) {
			rec.SetExited(0, "", false, time.Now())
			rec.Status = record.StatusRemoving
		}),
		edit(created, func(rec *record.Record) { rec.Status, rec.Version = record.StatusRemoving, 0 }))
	r.empty()
	if got := r.actions(id); got[len(got)-1] != "destroy" {
		t.Errorf("events %v", got)
	}
	if got := r.actions(created); slices.Contains(got, "destroy") {
		t.Errorf("events %v", got)
	}
}

// A removal that fails is tried again by the next request, and by the next engine.
func TestRemovalThatFails(t *testing.T) {
	r := newRig(t)
	id := r.create("name", "exit 0")
	block := filepath.Join(r.e.containerDir(id), "busy")
	must(t, os.MkdirAll(block, 0o755))
	must(t, mountTmpfs(block, 0))
	if err := r.e.ContainerRemove(t.Context(), id, RemoveOptions{}); err == nil {
		t.Error("a busy directory was removed")
	}
	if err := r.e.ContainerStart(t.Context(), id); !errdefs.IsConflict(err) {
		t.Errorf("start: %v", err)
	}
	r.reopen()
	must(t, unmount(block))
	must(t, r.e.ContainerRemove(t.Context(), "name", RemoveOptions{}))
	r.empty()
}

// The next engine restores execs that run, and those that ended meanwhile. It removes an
// exec that was never started, and what is left of an exec whose start was not recorded.
func TestExecsOfAnEarlierEngine(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	running, ends, idle, unrecorded := r.exec(id, "sleep 1000"), r.exec(id, "cat; exit 6"),
		r.execCreate(id, "sleep 1000"), r.exec(id, "cat")
	r.close()
	for _, execID := range []string{ends, unrecorded} {
		must(t, r.daemon.CloseIO(t.Context(), id, execID))
		_, err := r.daemon.Wait(t.Context(), id, execID)
		must(t, err)
	}
	must(t, r.keeper.Hold(t.Context(), Namespace+"/nobody/init", keeper.Stdout, nil, nil, keeper.HoldOptions{}))
	must(t, r.keeper.Hold(t.Context(), "someone-else/a/b", keeper.Stdout, nil, nil, keeper.HoldOptions{}))
	r.reopen(func(tx *store.Tx) error { record.Execs.Delete(tx, unrecorded); return nil })
	eventually(t, func() bool { return len(r.journaledExecs()) == 1 })
	want := []string{id + "/init:stderr", id + "/init:stdout", id + "/" + running + ":stderr",
		id + "/" + running + ":stdout", "someone-else/a/b:stdout"}
	slices.Sort(want)
	eventually(t, func() bool { return slices.Equal(r.keeper.keys(), want) && len(r.streams.Left()) == 2 })
	for _, execID := range []string{ends, unrecorded} {
		eventually(t, func() bool {
			_, err := r.daemon.Process(t.Context(), id, execID)
			return errdefs.IsNotFound(err)
		})
	}
	for execID, code := range map[string]int{running: -1, ends: 6} {
		if x, err := r.e.ExecInspect(t.Context(), execID); err != nil || x.Running != (code < 0) || !x.Running &&
			*x.ExitCode != code || x.Pid == 0 {
			t.Errorf("%+v, %v", x, err)
		}
	}
	for _, execID := range []string{idle, unrecorded} {
		if _, err := r.e.ExecInspect(t.Context(), execID); !errdefs.IsNotFound(err) {
			t.Errorf("an exec that must be unknown: %v", err)
		}
		if _, err := os.Stat(filepath.Join(r.e.containerDir(id), "exec-"+execID)); !os.IsNotExist(err) {
			t.Errorf("its directory: %v", err)
		}
	}
	if n := r.recovered(id, "exec_die"); n != 1 {
		t.Errorf("%d recovered exits of execs", n)
	}
	must(t, r.keeper.Release(t.Context(), "someone-else/a/b", ""))
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	if left := r.journaledExecs(); len(left) > 0 {
		t.Errorf("records %v", left)
	}
	r.empty()
}

// Records of execs are removed if the last record of an engine was the exit of their
// container.
func TestExecRecordsOfADeadContainer(t *testing.T) {
	r := newRig(t)
	id := r.run("", "sleep 1000")
	r.exec(id, "sleep 1000")
	r.reopen(edit(id, func(rec *record.Record) { rec.SetExited(3, "", false, time.Now()) }))
	if left := r.journaledExecs(); len(left) > 0 {
		t.Errorf("records %v", left)
	}
	must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
	r.empty()
}

// journaledExecs lists the execs that the journal has.
func (r *rig) journaledExecs() (ids []string) {
	r.t.Helper()
	must(r.t, r.e.store.View(func(s *journal.Snapshot) error {
		return s.ForEach(record.Execs.Name, func(id string, _ []byte) error {
			ids = append(ids, id)
			return nil
		})
	}))
	return ids
}

func (r *rig) execCreate(id, script string) string {
	r.t.Helper()
	execID, err := r.e.ExecCreate(r.t.Context(), id, container.ExecCreateRequest{
		Cmd: []string{"sh", "-c", script}, AttachStdin: true, AttachStdout: true, AttachStderr: true,
	})
	must(r.t, err)
	return execID
}

func (r *rig) exec(id, script string) string {
	r.t.Helper()
	execID := r.execCreate(id, script)
	must(r.t, r.e.ExecStart(r.t.Context(), execID, exec.StartOptions{Detach: true}))
	return execID
}

// A stdin is closed if its client has gone with an engine, or if the close was asked for
// earlier.
func TestStdinOverRestart(t *testing.T) {
	for name, c := range map[string]struct {
		input   func() (io.Reader, func())
		attach  bool
		expects bool
	}{
		"wished":   {func() (io.Reader, func()) { return bytes.NewReader(nil), func() {} }, true, true},
		"taken":    {pipeInput, true, true},
		"detached": {nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for op := range 2 { // the close does not reach the daemon
				r.daemon.Fail("CloseIO", op+1, libFault(errdefs.ErrUnavailable))
			}
			id := r.create("", "cat; exit 9", withStdin)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			attached, finish := make(chan error, 1), func() {}
			if c.attach {
				input, end := c.input()
				finish = end
				opened := make(chan struct{})
				go func() {
					attached <- r.e.ContainerAttach(ctx, id,
						AttachOptions{Stdin: true, Stdout: true, Stream: true, Open: func(bool) (Streams, error) {
							close(opened)
							return Streams{Stdin: input, Stdout: io.Discard}, nil
						}})
				}()
				receive(t, notify(opened))
			}
			must(t, r.e.ContainerStart(t.Context(), id))
			if name == "wished" {
				eventually(t, func() bool { return r.task(id).Record().StdinClosed })
			}
			cancel()
			if c.attach {
				_ = receive(t, attached) // cut off, with any error
			}
			r.crashWithClient(finish)
			if c.expects {
				r.ended(id)
				if got := r.task(id).Record().ExitCode; got != 9 {
					t.Errorf("exit code %d", got)
				}
			} else if r.task(id).Record().StdinClosed {
				t.Error("a stdin without a client was closed")
			}
			must(t, r.e.ContainerRemove(t.Context(), id, RemoveOptions{Force: true}))
			r.empty()
		})
	}
}

// crashWithClient ends the engine, and with it the client's connection.
func (r *rig) crashWithClient(finish func()) {
	r.t.Helper()
	r.e.background.Stop() // from here on nothing is recorded or closed
	finish()
	r.reopen()
}

func pipeInput() (io.Reader, func()) {
	r, w := io.Pipe()
	return r, func() { _ = w.Close() }
}

// notify sends a value when a channel is closed.
func notify(done <-chan struct{}) <-chan bool {
	ch := make(chan bool, 1)
	go func() {
		<-done
		ch <- true
	}()
	return ch
}
