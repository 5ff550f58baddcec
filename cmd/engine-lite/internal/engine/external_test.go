package engine

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/external"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/keeper"
)

// outsider is the log of an external container. Its process is a child of this process.
type outsider struct {
	*rig
	log   *ocilog.Log
	cmd   *exec.Cmd
	stdin io.Closer
}

// newOutsider begins to create a container whose process ends with exit code 7 when its
// stdin gets a line.
func newOutsider(t *testing.T) *outsider {
	t.Helper()
	r := newRig(t)
	dir, err := os.MkdirTemp("", "oci")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	r.spool = dir
	r.reopen()
	t.Cleanup(r.close)
	f := &outsider{rig: r, cmd: exec.Command("sh", "-c", "read x; exit 7")}
	f.stdin, err = f.cmd.StdinPipe()
	must(t, err)
	must(t, f.cmd.Start())
	t.Cleanup(f.exit)
	f.log, err = ocilog.Open(t.Context(), dir, ocilog.Key("", "c1"), true)
	must(t, err)
	t.Cleanup(func() { _ = f.log.Close() })
	f.note(ocilog.Line{Action: ocilog.Create, Step: ocilog.Begun, Container: &ocilog.Container{Run: "r1", ID: "c1"}})
	return f
}

func (f *outsider) note(lines ...ocilog.Line) {
	f.t.Helper()
	for _, l := range lines {
		must(f.t, f.log.Append(l))
	}
	ocilog.Wake(f.spool)
}

func (f *outsider) created() ocilog.Line {
	f.t.Helper()
	start, err := keeper.StartTime(f.cmd.Process.Pid)
	must(f.t, err)
	return ocilog.Line{Action: ocilog.Create, Step: ocilog.Done,
		Process: &ocilog.Process{Pid: f.cmd.Process.Pid, Start: start}}
}

func done(action string) ocilog.Line { return ocilog.Line{Action: action, Step: ocilog.Done} }

func (f *outsider) exit() {
	_ = f.stdin.Close()
	_ = f.cmd.Wait()
}

// events waits until these are the container's events, each die with its exit code.
func (f *outsider) events(want ...string) {
	f.t.Helper()
	var got []string
	defer func() {
		if f.t.Failed() {
			f.t.Logf("events %q, want %q", got, want)
		}
	}()
	eventually(f.t, func() bool {
		got = nil
		for c := f.e.store.Cursor(0); ; {
			ev, ok, err := c.Poll()
			must(f.t, err)
			if !ok {
				return slices.Equal(got, want)
			}
			if ev.ID == "c1" {
				text := ev.Action
				if ev.Action == "die" {
					text += " " + ev.Attributes["exitCode"]
				}
				if ev.Recovered {
					text += " recovered"
				}
				got = append(got, text)
			}
		}
	})
}

// gone waits until nothing is left of the container.
func (f *outsider) gone() {
	f.t.Helper()
	eventually(f.t, func() bool {
		left := 0
		must(f.t, f.e.store.View(func(s *journal.Snapshot) error {
			return s.ForEach(external.Records.Name, func(string, []byte) error { left++; return nil })
		}))
		entries, err := os.ReadDir(f.spool)
		must(f.t, err)
		entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !ocilog.IsLog(e.Name()) })
		for _, log := range entries {
			f.t.Logf("left: %s", log.Name())
			left++
		}
		return left == 0 && len(f.keeper.keys()) == 0
	})
}

// destroy ends the container as the last command does.
func (f *outsider) destroy() {
	f.t.Helper()
	f.note(done(ocilog.Destroy))
	must(f.t, f.log.Retire())
	must(f.t, f.log.Close())
	ocilog.Wake(f.spool)
}

// TestExternalLifecycle follows a container by its log.
func TestExternalLifecycle(t *testing.T) {
	f := newOutsider(t)
	f.note(f.created())
	f.events("create")
	f.note(ocilog.Line{Action: ocilog.Start, Step: ocilog.Begun}, done(ocilog.Start), done(ocilog.Pause),
		done(ocilog.Unpause))
	f.events("create", "start", "pause", "unpause")
	f.exit()
	f.events("create", "start", "pause", "unpause", "die 7")
	f.destroy()
	f.events("create", "start", "pause", "unpause", "die 7", "destroy")
	f.gone()
}

// TestExternalExitDuringStart ends a process between the beginning of its start and its
// end. The exit waits as long as the command has the log.
func TestExternalExitDuringStart(t *testing.T) {
	for name, finish := range map[string]func(f *outsider){
		"done":   func(f *outsider) { f.note(done(ocilog.Start)) },
		"killed": func(f *outsider) { must(f.t, f.log.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newOutsider(t)
			f.note(f.created(), ocilog.Line{Action: ocilog.Start, Step: ocilog.Begun})
			f.events("create")
			f.exit()
			f.events("create")
			finish(f)
			if name == "done" {
				f.events("create", "start", "die 7")
			} else {
				f.events("create", "start recovered", "die 7")
			}
		})
	}
}

// TestExternalNeverStarted ends the process of a container that was only created. That is
// no exit of a run.
func TestExternalNeverStarted(t *testing.T) {
	f := newOutsider(t)
	f.note(f.created())
	f.exit()
	f.note(ocilog.Line{Action: ocilog.Start, Step: ocilog.Begun},
		ocilog.Line{Action: ocilog.Start, Step: ocilog.Failed})
	f.destroy()
	f.events("create", "destroy")
	f.gone()
}

// TestExternalCommandKilled kills commands before their last step. The engine does that
// step.
func TestExternalCommandKilled(t *testing.T) {
	f := newOutsider(t)
	status := uint32(3 << 8)
	f.note(f.created(), done(ocilog.Start), ocilog.Line{Action: ocilog.Exit, Step: ocilog.Done, Status: &status},
		done(ocilog.Destroy))
	f.events("create", "start", "die 3", "destroy")
	must(t, f.log.Close())
	f.gone()
}

// TestExternalAway does everything while no engine runs.
func TestExternalAway(t *testing.T) {
	f := newOutsider(t)
	f.close()
	f.note(f.created(), done(ocilog.Start))
	f.exit()
	f.destroy()
	must(t, f.keeper.Hold(t.Context(), ocilog.Held("r0"), keeper.Process, nil, nil, keeper.HoldOptions{}))
	f.open()
	// The fake keeper does not know the process, and it is reaped.
	f.events("create", "start", "die 255 recovered", "destroy")
	f.gone()
}

// TestExternalLost restarts the machine: the logs are gone, the journal is not.
func TestExternalLost(t *testing.T) {
	for name, tt := range map[string]struct {
		state ocilog.State
		ended bool
		want  []string
	}{
		"running": {ocilog.State{Created: true, Started: true}, false,
			[]string{"die 255 recovered", "destroy recovered"}},
		"ended":     {ocilog.State{Created: true, Started: true}, true, []string{"destroy recovered"}},
		"created":   {ocilog.State{Created: true}, false, []string{"destroy recovered"}},
		"announced": {ocilog.State{Created: true, Destroyed: true}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newOutsider(t)
			must(t, f.log.Discard())
			tt.state.Container = ocilog.Container{Run: "r1", ID: "c1"}
			f.reopen(func(tx *store.Tx) error {
				return external.Records.Put(tx, "r1",
					external.Record{State: external.State{State: tt.state}, Ended: tt.ended, StartedAt: time.Now()})
			})
			f.events(tt.want...)
			f.gone()
		})
	}
}
