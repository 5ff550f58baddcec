package core

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper"
)

func TestTransitions(t *testing.T) {
	all := []status{added, creating, created, starting, running, stopped}
	want := map[[2]status]bool{
		{added, starting}: true, {added, stopped}: true, {creating, created}: true, {created, starting}: true,
		{created, stopped}:  true,
		{starting, running}: true, {starting, created}: true, {starting, added}: true, {starting, stopped}: true,
		{running, stopped}: true,
	}
	for _, from := range all {
		for _, to := range all {
			p := &Process{task: &containerTask{c: &container{id: "c"}}, status: from}
			err := p.transition("test", to)
			if want[[2]status{from, to}] != (err == nil) || (err != nil && !errdefs.IsFailedPrecondition(err)) {
				t.Errorf("%v to %v: %v", from, to, err)
			}
			if err != nil && p.status != from {
				t.Errorf("%v to %v was refused and done", from, to)
			}
		}
	}
}

func TestExitTable(t *testing.T) {
	table := newExitTable()
	p := &Process{}
	now := time.Now()
	exit := func(pid int, start uint64, at time.Time) keeper.Exit {
		return keeper.Exit{Pid: pid, StartTime: start, Time: at}
	}
	if e := table.expect(10, liveProcess{p: p, start: 5, since: now}); e != nil {
		t.Fatalf("an exit from nowhere: %v", e)
	}
	if got, keep := table.take(exit(10, 4, now)); got != nil || keep {
		t.Fatal("the exit of an earlier process with the same pid was taken, or kept")
	}
	if got, _ := table.take(exit(10, 5, now)); got != p {
		t.Fatal("the exit was not taken")
	}
	if got, _ := table.take(exit(10, 5, now)); got != nil {
		t.Fatal("the exit was taken twice")
	}
	first, second := table.open(), table.open()
	early := exit(11, 6, second.since.Add(-time.Hour)) // as after the clock was set back
	if _, keep := table.take(early); !keep {
		t.Fatal("an exit was not kept for the process that is being made")
	}
	if stale := first.close(); len(stale) != 0 {
		t.Fatalf("given up too early: %v", stale)
	}
	if e := table.expect(11, liveProcess{p: p, start: 6, since: second.since}); e == nil || e.StartTime != 6 {
		t.Fatalf("the early exit was not found: %v", e)
	}
	table.take(exit(12, 7, second.since.Add(time.Second)))
	if e := table.expect(12, liveProcess{p: p, start: 0, since: second.since}); e == nil || e.StartTime != 7 {
		t.Fatalf("the early exit of a process whose start isn't known was not found: %v", e)
	}
	table.take(early)
	if stale := second.close(); len(stale) != 1 {
		t.Fatalf("not given up: %v", stale)
	}
}

func TestUndo(t *testing.T) {
	var done string
	func() {
		var back undo
		err := errors.New("failed")
		defer back.unless(&err)
		back.add(func() { done += "1" })
		back.add(func() { done += "2" })
	}()
	if done != "21" {
		t.Fatalf("undone in the order %q", done)
	}
}

func FuzzExitRecord(f *testing.F) {
	f.Add([]byte(`{"code":7,"time":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"code":70000,"time":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"unknown":"x"}`))
	path := filepath.Join(f.TempDir(), "exit")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := loadExit(path); err == nil && e.Status() > 255 && e.Status() != UnknownStatus {
			t.Fatalf("%q has the status %d", data, e.Status())
		}
	})
}
