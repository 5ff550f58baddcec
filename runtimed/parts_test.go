package runtimed

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper"
)

// A subscriber that doesn't read loses its subscription; the others lose nothing.
func TestSlowSubscriber(t *testing.T) {
	b := newBroker()
	slow, good := b.subscribe(), b.subscribe()
	defer slow.close()
	defer good.close()
	for i := range backlog + 1 {
		if err := b.publish("ns", "/tasks/oom", &events.TaskOOM{}); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			if _, err := good.next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := slow.next(t.Context()); !errdefs.IsResourceExhausted(err) {
		t.Fatalf("slow subscriber: %v", err)
	}
	if queue, err := good.next(t.Context()); err != nil || len(queue) == 0 {
		t.Fatalf("good subscriber: %d events, %v", len(queue), err)
	}
}

func TestTransitions(t *testing.T) {
	all := []status{added, creating, created, starting, running, stopped}
	want := map[[2]status]bool{
		{added, starting}: true, {added, stopped}: true, {creating, created}: true, {created, starting}: true, {created, stopped}: true,
		{starting, running}: true, {starting, created}: true, {starting, added}: true, {starting, stopped}: true, {running, stopped}: true,
	}
	for _, from := range all {
		for _, to := range all {
			p := &process{task: &containerTask{c: &container{id: "c"}}, status: from}
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
	p := &process{}
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
	early := exit(11, 6, second.since.Add(-time.Hour)) // the clock was set back
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

func TestMoment(t *testing.T) {
	m := moment{wall: time.Now(), ticks: 100}
	for want, exits := range map[bool][]keeper.Exit{
		true:  {{StartTime: 99, Time: m.wall.Add(time.Hour)}, {Time: m.wall.Add(-time.Second)}},
		false: {{StartTime: 100, Time: m.wall.Add(-time.Hour)}, {Time: m.wall.Add(time.Second)}},
	} {
		for _, e := range exits {
			if m.after(e) != want {
				t.Errorf("%+v: %v", e, !want)
			}
		}
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

func FuzzPid(f *testing.F) {
	for _, seed := range []string{"1", "42\n", "", "-1", "+1", "0", "99999999999999", "1\n\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pid, err := parsePid(data)
		if (err == nil) != (pid > 0) {
			t.Fatalf("%q is %d, %v", data, pid, err)
		}
	})
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
		if e, err := loadExit(path); err == nil && e.status() > 255 && e.status() != unknownStatus {
			t.Fatalf("%q has the status %d", data, e.status())
		}
	})
}

func FuzzRuntimeLog(f *testing.F) {
	f.Add(`{"level":"error","msg":"no"}` + "\n")
	f.Add("panic: x\n{\"level\":\"fatal\",\"msg\":\"yes\"}\n{}")
	f.Fuzz(func(_ *testing.T, text string) { parseLog(strings.NewReader(text)) })
}

func FuzzOOMKills(f *testing.F) {
	f.Add([]byte("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"))
	f.Add([]byte("low 0\noom 1\noom_kill 2"))
	f.Fuzz(func(_ *testing.T, data []byte) { parseOOMKills(data) })
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("1 (a) b) S 7 1 1"))
	f.Add([]byte("1 (x"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseParent(data) })
}

func FuzzCommandLine(f *testing.F) {
	f.Add([]byte("runc\x00--root\x00/r/.oci/ns\x00create\x00c\x00"), true)
	f.Add([]byte("runc\x00--root\x00/r/.oci2/ns\x00create\x00c\x00"), false)
	f.Add([]byte("runc\x00init\x00--root\x00"), false)
	f.Add([]byte(""), false)
	f.Fuzz(func(t *testing.T, line []byte, want bool) {
		if got := hasRoot(line, "/r/.oci"); got && !bytes.Contains(line, []byte("--root\x00/r/.oci/")) {
			t.Fatalf("%q", line)
		} else if want && !got && bytes.HasPrefix(line, []byte("runc\x00--root\x00/r/.oci/")) {
			t.Fatalf("%q was not found", line)
		}
	})
}

func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"rootfs"}}`), false)
	f.Fuzz(func(t *testing.T, data []byte, terminal bool) {
		if p, err := parseProcess(data, terminal); (err == nil) != (p != nil) {
			t.Fatalf("%v, %v", p, err)
		}
	})
}

func FuzzControlMessage(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= 20 { // long enough for descriptors, which would be the test's own
			return
		}
		if master, err := masterOf(data); err == nil {
			t.Fatalf("a terminal from %q: %v", data, master)
		}
	})
}
