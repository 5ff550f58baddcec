package ocilog

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir, key string, create bool) *Log {
	t.Helper()
	l, err := Open(t.Context(), dir, key, create)
	must(t, err)
	return l
}

func begun(run string) Line {
	c := Container{Run: run, ID: "c", Annotations: map[string]string{"a": "b"}}
	return Line{Action: Create, Step: Begun, Container: &c}
}

// TestLog writes all that happens to a container, and reads it again after each line.
func TestLog(t *testing.T) {
	dir, key := filepath.Join(t.TempDir(), "oci"), Key("", "c")
	status := uint32(7 << 8)
	process := Process{Pid: 42, Start: 4711}
	if _, err := Open(t.Context(), dir, key, false); !errdefs.IsNotFound(err) {
		t.Errorf("no log: %v", err)
	}
	var want State
	for _, l := range []Line{
		begun("r1"), {Action: Create, Step: Done, Process: &process},
		{Action: Start, Step: Begun}, {Action: Start, Step: Failed},
		{Action: Start, Step: Begun}, {Action: Start, Step: Done},
		{Action: Pause, Step: Done}, {Action: Unpause, Step: Done},
		{Action: Exit, Step: Done, Status: &status}, {Action: Destroy, Step: Begun}, {Action: Destroy, Step: Done},
	} {
		log := open(t, dir, key, true)
		must(t, log.Append(l))
		want = log.State
		must(t, log.Close())
		if got, err := Peek(dir, key); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("after %s %s: %+v, %v, want %+v", l.Action, l.Step, got, err, want)
		}
	}
	if !want.Created || !want.Started || want.Paused || !want.Exited || !want.Destroyed ||
		want.Pending != "" || want.Process != process || want.Exists() {
		t.Errorf("in the end: %+v", want)
	}
	log := open(t, dir, key, false)
	must(t, log.Retire())
	if !Retired(log.Name()) || !IsLog(log.Name()) || !IsLog(key) || IsLog("wake") || IsLog("state") || IsLog("r1.pid") {
		t.Errorf("names: %s, %s", log.Name(), key)
	}
	must(t, log.Close())
	if _, err := Peek(dir, key); !errdefs.IsNotFound(err) {
		t.Errorf("the name is not free: %v", err)
	}
}

// TestTornLine leaves half of a line, as a killed writer does: the next line
// counts, the half one doesn't.
func TestTornLine(t *testing.T) {
	dir, key := t.TempDir(), Key("", "c")
	log := open(t, dir, key, true)
	must(t, log.Append(begun("r1")))
	text, err := Line{Action: Destroy, Step: Done}.encode()
	must(t, err)
	_, err = log.file.Write(text[:len(text)-2])
	must(t, err)
	must(t, log.Append(Line{Action: Create, Step: Done, Process: &Process{Pid: 1}}))
	must(t, log.Close())
	if s, err := Peek(dir, key); err != nil || !s.Created || s.Destroyed {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestLock opens one log from many goroutines at once, some of which rename it.
func TestLock(t *testing.T) {
	dir, key := t.TempDir(), Key("", "c")
	var mu sync.Mutex
	var work sync.WaitGroup
	for i := range 20 {
		work.Go(func() {
			l, err := Open(t.Context(), dir, key, true)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			if !mu.TryLock() {
				t.Error("two processes have the log")
				return
			}
			defer mu.Unlock()
			if Idle(l.path, 0) {
				t.Error("a locked log is idle")
			}
			if l.State.Container.Run == "" {
				if err := l.Append(begun(NewRun())); err != nil {
					t.Error(err)
				}
			}
			if i%3 == 0 {
				if err := l.Retire(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	l := open(t, dir, key, true)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, dir, key, false); !errdefs.IsUnavailable(err) {
		t.Errorf("a lock that is taken: %v", err)
	}
}

func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, pair := range [][2]string{{"", "c"}, {"/r", "c"}, {"/r", "d"}, {"/rc", ""}, {"", "/rc"}} {
		key := Key(pair[0], pair[1])
		if seen[key] || !IsLog(key) {
			t.Errorf("key of %q: %s", pair, key)
		}
		seen[key] = true
	}
}

// TestWake wakes a listener, a stale socket, and nobody.
func TestWake(t *testing.T) {
	dir := t.TempDir()
	Wake(dir) // nobody listens
	conn, remove, err := Listen(dir)
	must(t, err)
	must(t, conn.Close())
	Wake(dir) // the socket is stale
	_ = remove()
	conn, remove, err = Listen(dir)
	must(t, err)
	for range 2000 { // more than fit
		Wake(dir)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	must(t, remove())
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// FuzzParse parses any bytes: lines end at a line break, and make a state.
func FuzzParse(f *testing.F) {
	whole, _ := begun("r1").encode()
	f.Add(whole)
	f.Add(append(whole, `{"action":"create","step":"done","process":{"pid":1}}`+"\n"...))
	f.Add([]byte("\n\n{\n{}\nnull\n[]\n" + `{"action":"exit","step":"done"}` + "\n"))
	f.Add(whole[:len(whole)-5])
	f.Fuzz(func(t *testing.T, data []byte) {
		last := int64(0)
		for _, l := range Parse(data) {
			if l.End <= last || l.End > int64(len(data)) || data[l.End-1] != '\n' || !l.valid() {
				t.Fatalf("line %+v", l)
			}
			last = l.End
		}
		stateOf(data)
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
