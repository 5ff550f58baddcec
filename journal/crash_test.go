package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// child prepares the test binary in another role.
func child(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// writeUntilKilled is a child that counts several records up, with an event for each new count. It prints the numbers
// of the events that are committed.
func writeUntilKilled(path string) error {
	j, err := Open(path, Options{MaxBytes: -1})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := range 4 {
		go func() {
			for {
				if err := countUp(j, fmt.Sprint("counter-", i)); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func countUp(j *Journal, key string) error {
	var seq uint64
	err := j.Commit(context.Background(), func(tx *Tx) error {
		stored, _ := tx.Get("counter", key)
		n, _ := strconv.Atoi(string(stored))
		next := fmt.Sprint(n + 1)
		tx.Put("counter", key, []byte(next))
		seq = tx.Append(Event{Type: "counter", ID: key, Action: next})
		if n%5 == 4 {
			tx.Delete("counter", key)
			tx.Append(Event{Type: "counter", ID: key, Action: "reset"})
		}
		return nil
	})
	if err == nil {
		_, err = fmt.Println(seq)
	}
	return err
}

// runAndKill lets a writer commit some events, kills it and returns the highest number that it reported.
func runAndKill(t *testing.T, path string, lines int) uint64 {
	t.Helper()
	cmd := child(t, "writer", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reported uint64
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
		if seq, err := strconv.ParseUint(scanner.Text(), 10, 64); err == nil {
			reported = max(reported, seq)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the writer ended by itself: %v", err)
	}
	return reported
}

// replay returns the records that the events lead to.
func replay(t *testing.T, j *Journal) map[string]string {
	t.Helper()
	state := make(map[string]string)
	for i, e := range allEvents(t, j) {
		if e.Seq != uint64(i+1) {
			t.Fatalf("event %d has number %d", i+1, e.Seq)
		}
		state[e.ID] = e.Action
		if e.Action == "reset" {
			delete(state, e.ID)
		}
	}
	return state
}

func TestKilledAtAnyMomentRecordsAndEventsAgree(t *testing.T) {
	path := newPath(t)
	var id string
	for round := range 12 {
		reported := runAndKill(t, path, 1+17*round)
		j, err := Open(path, Options{MaxBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		if j.Newest() < reported {
			t.Errorf("event %d was acknowledged, but the newest is %d", reported, j.Newest())
		}
		if want, got := fmt.Sprint(replay(t, j)), fmt.Sprint(records(t, j, "counter")); got != want {
			t.Errorf("records %v, but the events tell %v", got, want)
		}
		if id = j.ID(); id == "" || len(id) != 32 {
			t.Errorf("its name is %q", id)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// writeBeyondLimit is a child whose files can't grow beyond a limit, which it then lifts.
func writeBeyondLimit(path string) error {
	signal.Ignore(unix.SIGXFSZ)
	j, err := Open(path, Options{})
	if err != nil {
		return err
	}
	put := func(key string, size int) error {
		return j.Commit(context.Background(), func(tx *Tx) error {
			tx.Put("n", key, make([]byte, size))
			appendNumbered(tx)
			return nil
		})
	}
	limit := func(bytes uint64) error {
		return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY})
	}
	if err := errors.Join(put("before", 10), limit(256<<10)); err != nil {
		return err
	}
	if err := put("large", 1<<20); !errdefs.IsInternal(err) {
		return fmt.Errorf("beyond the limit: %v", err)
	}
	if j.Newest() != 1 {
		return fmt.Errorf("a commit that failed moved the newest event to %d", j.Newest())
	}
	return errors.Join(limit(unix.RLIM_INFINITY), put("after", 1<<20), j.Close())
}

func TestACommitThatTheDiskRefusesLeavesNothing(t *testing.T) {
	path := newPath(t)
	if err := child(t, "limited", path).Run(); err != nil {
		t.Fatal(err)
	}
	j := open(t, path, Options{})
	kept := records(t, j, "n")
	if _, large := kept["large"]; large || len(kept) != 2 || j.Newest() != 2 || len(allEvents(t, j)) != 2 {
		t.Errorf("%d records, newest %d", len(kept), j.Newest())
	}
}

// readCutOff is a child that opens a journal whose file is then cut off.
func readCutOff(path string) error {
	j, err := Open(path, Options{})
	if err != nil {
		return err
	}
	for i := range 400 {
		err := j.Commit(context.Background(), func(tx *Tx) error {
			tx.Put("n", fmt.Sprintf("%03d", i), make([]byte, 1000))
			appendNumbered(tx)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := os.Truncate(path, 4*4096); err != nil {
		return err
	}
	cut := map[string]error{"view": j.View(func(s *Snapshot) error {
		s.Get("n", "399")
		return s.ForEach("n", func(string, []byte) error { return nil })
	})}
	_, cut["cursor"] = j.Cursor(0).Next(context.Background())
	_, cut["since"] = j.CursorSince(farFuture)
	cut["commit"] = j.Commit(context.Background(), func(tx *Tx) error { tx.Put("n", "399", nil); return nil })
	for what, err := range cut {
		if !errdefs.IsDataLoss(err) {
			return fmt.Errorf("%s: got %v", what, err)
		}
	}
	err = j.Commit(context.Background(), func(*Tx) error { return nil })
	if !errdefs.IsUnavailable(err) {
		return fmt.Errorf("next commit: got %v", err)
	}
	return j.Close()
}

func TestAFileThatIsCutOffWhileOpenIsAnError(t *testing.T) {
	if err := child(t, "cut", newPath(t)).Run(); err != nil {
		t.Fatal(err)
	}
}

// useWiped is a child whose journal loses both of bbolt's meta pages while it is open; bbolt panics then and keeps its
// locks.
func useWiped(path, first string) error {
	j, err := Open(path, Options{})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 2*4096), 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	view := func() error { return j.View(func(*Snapshot) error { return nil }) }
	put := func() error {
		return j.Commit(context.Background(), func(tx *Tx) error { tx.Put("n", "k", nil); return nil })
	}
	calls := []func() error{view, view, put}
	if first == "commit" {
		calls = []func() error{put, put, view}
	}
	for i, call := range calls {
		if err := call(); !errdefs.IsDataLoss(err) && (i == 0 || !errdefs.IsUnavailable(err)) {
			return fmt.Errorf("call %d: got %v", i, err)
		}
	}
	return j.Close()
}

func TestAFileThatIsWipedWhileOpenIsAnError(t *testing.T) {
	for _, first := range []string{"commit", "view"} {
		if err := child(t, "wiped", newPath(t), first).Run(); err != nil {
			t.Errorf("%s: %v", first, err)
		}
	}
}

func TestAJournalInUseIsRefused(t *testing.T) {
	path := newPath(t)
	cmd := child(t, "writer", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 2)); err != nil {
		t.Error(err)
	}
	before := descriptors(t)
	_, err = Open(path, Options{LockTimeout: -1})
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}
