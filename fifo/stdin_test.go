package fifo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	containerdfifo "github.com/containerd/fifo"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func openStdin(t testing.TB, set *Set) *Stdin {
	t.Helper()
	stdin, err := set.OpenStdin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Abort() })
	return stdin
}

// startCat runs a cat from stdin to stdout, with the write end that a runtime daemon
// holds, and returns the function that closes that end.
func startCat(t *testing.T, set *Set) (cmd *exec.Cmd, closeIO func() error) {
	t.Helper()
	files := openContainer(t, Paths{Stdin: set.Paths().Stdin, Stdout: set.Paths().Stdout})
	hold, err := OpenHold(set.Paths().Stdin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close() })
	return start(t, files, "cat"), hold.Close
}

func isDone(s *Stdin) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

// The client writes and closes before the process exists.
func TestStdinIsHeldBack(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader, stdin := openStdout(t, set), openStdin(t, set)
	var client sync.WaitGroup
	client.Go(func() {
		if _, err := fmt.Fprintln(stdin, "early"); err != nil {
			t.Error(err)
		}
		if err := stdin.Close(); err != nil {
			t.Error(err)
		}
	})
	waitParked(t, "select", "fifo.(*Stdin).Write")
	cmd, closeIO := startCat(t, set)
	client.Wait()
	if isDone(stdin) {
		t.Error("closed without permission")
	}
	if _, err := stdin.Write([]byte("late")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if err := stdin.Release(closeIO); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	reader.ExitKnown()
	if all, err := io.ReadAll(reader); err != nil || string(all) != "early\n" {
		t.Errorf("cat wrote %q, %v", all, err)
	}
}

// The engine dies and comes back while a process reads: no end of file. The
// close that it stored takes effect.
func TestStdinOverRestart(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	first := openStdin(t, set)
	cmd, closeIO := startCat(t, set)
	if _, err := first.Write([]byte("one ")); err != nil {
		t.Fatal(err)
	}
	first.Abort()
	second := openStdin(t, set)
	if _, err := second.Write([]byte("two")); err != nil {
		t.Fatal(err)
	}
	second.Abort()

	loaded, err := Load(set.Dir())
	if err != nil {
		t.Fatal(err)
	}
	third := openStdin(t, loaded)
	if err := errors.Join(third.Close(), third.Release(closeIO)); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	reader.ExitKnown()
	if all, err := io.ReadAll(reader); err != nil || string(all) != "one two" {
		t.Errorf("cat wrote %q, %v", all, err)
	}
}

func TestStdinOrders(t *testing.T) {
	failed := errors.New("daemon is away")
	for name, c := range map[string]struct {
		do    func(s *Stdin, closeIO func() error) []error
		calls int32
		want  []error
	}{
		"close, release": {func(s *Stdin, closeIO func() error) []error {
			return []error{s.Close(), s.Release(closeIO)}
		}, 1, []error{nil, failed}},
		"release, close": {func(s *Stdin, closeIO func() error) []error {
			return []error{s.Release(closeIO), s.Close()}
		}, 1, []error{nil, failed}},
		"each twice": {func(s *Stdin, closeIO func() error) []error {
			return []error{s.Close(), s.Close(), s.Release(closeIO), s.Release(closeIO), s.Close()}
		}, 1, []error{nil, nil, failed, nil, nil}},
		"no closeIO": {func(s *Stdin, _ func() error) []error {
			return []error{s.Release(nil), s.Close()}
		}, 0, []error{nil, nil}},
		"abort": {func(s *Stdin, closeIO func() error) []error {
			return []error{s.Abort(), s.Abort(), s.Close(), s.Release(closeIO)}
		}, 0, []error{nil, nil, nil, nil}},
		"close, abort": {func(s *Stdin, closeIO func() error) []error {
			return []error{s.Close(), s.Abort(), s.Release(closeIO)}
		}, 0, []error{nil, nil, nil}},
		"all, abort": {func(s *Stdin, closeIO func() error) []error {
			return []error{s.Close(), s.Release(closeIO), s.Abort()}
		}, 1, []error{nil, failed, nil}},
	} {
		for _, when := range []string{"before", "after", "never"} {
			t.Run(fmt.Sprintf("%s, opened %s", name, when), func(t *testing.T) {
				checkLeaks(t)
				set := newSet(t)
				stdin := openStdin(t, set)
				open := func() {
					files := openContainer(t, Paths{Stdin: set.Paths().Stdin})
					t.Cleanup(func() { files.Close() })
				}
				if when == "before" {
					open()
					<-stdin.opened
				}
				var calls atomic.Int32
				errs := c.do(stdin, func() error {
					calls.Add(1)
					return failed
				})
				aborted := strings.Contains(name, "abort")
				for i, err := range errs {
					if want := c.want[i]; !errors.Is(err, want) && (want == nil || when == "before") {
						t.Errorf("step %d: %v, want %v", i, err, want)
					}
				}
				wantCalls, wantDone := c.calls, true
				switch when {
				case "after":
					if !aborted && (calls.Load() > 0 || isDone(stdin)) {
						t.Error("closed before its end was opened for reading")
					}
					open()
					<-stdin.Done()
					if aborted {
						wantCalls = 0
					}
				case "never":
					wantCalls, wantDone = 0, aborted
				}
				if calls.Load() != wantCalls || isDone(stdin) != wantDone {
					t.Errorf("closeIO was called %d times, done %v", calls.Load(), isDone(stdin))
				}
				if _, err := stdin.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
					t.Errorf("write: %v", err)
				}
			})
		}
	}
}

// A shim of containerd opens stdin in the background, and may do that after its answer to create. Its open waits for a
// writer, so that a close before that would leave the process without the end of its stdin.
func TestStdinShimOpensLate(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	stdin := openStdin(t, set)
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	hold, err := containerdfifo.OpenFifo(t.Context(), set.Paths().Stdin, unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := stdin.Release(hold.Close); err != nil {
		t.Error(err)
	}
	if isDone(stdin) {
		t.Error("closed before anybody reads")
	}
	reader, err := os.Open(set.Paths().Stdin)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if all, err := io.ReadAll(reader); err != nil || len(all) > 0 {
		t.Errorf("%q, %v", all, err)
	}
	<-stdin.Done()
}

// The process has closed its stdin, and nobody opens it any more. The close takes effect, and no thread waits.
func TestStdinReaderStaysAway(t *testing.T) {
	checkLeaks(t)
	stdin := openStdin(t, newSet(t))
	stdin.patience = time.Millisecond
	var calls atomic.Int32
	if err := errors.Join(stdin.Close(), stdin.Release(func() error { calls.Add(1); return nil })); err != nil {
		t.Error(err)
	}
	<-stdin.Done()
	if calls.Load() != 1 {
		t.Errorf("closeIO was called %d times", calls.Load())
	}
}

func TestStdinRaces(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	var wg sync.WaitGroup
	for i := range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		stdin, err := set.OpenStdin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var calls atomic.Int32
		closeIO := func() error { calls.Add(1); return nil }
		wg.Go(func() { _, _ = stdin.Write(make([]byte, 1<<21)) }) // Abort ends the Write
		wg.Go(func() { stdin.Close() })
		wg.Go(func() { stdin.Release(closeIO) })
		wg.Go(func() { stdin.Release(closeIO) })
		if i%2 == 0 {
			wg.Go(cancel)
		}
		if i%3 == 0 {
			wg.Go(func() { stdin.Abort() })
		}
		if i%5 == 0 || i%2 > 0 && i%3 > 0 {
			wg.Go(func() {
				files, err := OpenContainer(context.Background(), Paths{Stdin: set.Paths().Stdin})
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				<-stdin.Done()
				files.Close()
			})
		}
		wg.Go(func() {
			<-stdin.Done()
			if n := calls.Load(); n > 1 || n == 0 && i%3 != 0 {
				t.Errorf("closeIO was called %d times", n)
			}
			cancel()
		})
	}
	wg.Wait()
}

func TestStdinOpeningCancelled(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	stdin, err := set.OpenStdin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := stdin.Write([]byte("x"))
		ended <- err
	}()
	waitParked(t, "select", "fifo.(*Stdin).Write")
	cause := errors.New("engine stops")
	cancel(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("write: %v", err)
	}
	goleak.VerifyNone(t)
	called := false
	if err := errors.Join(stdin.Close(), stdin.Release(func() error { called = true; return nil })); err != nil {
		t.Error(err)
	}
	if !called {
		t.Error("closeIO was not called")
	}
}

// The end of the context after the opening changes nothing.
func TestStdinOutlivesOpeningContext(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	ctx, cancel := context.WithCancel(context.Background())
	stdin, err := set.OpenStdin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	files := openContainer(t, Paths{Stdin: set.Paths().Stdin})
	defer files.Close()
	<-stdin.opened
	cancel()
	goleak.VerifyNone(t)
	if _, err := stdin.Write([]byte("still")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 10)
	if n, err := files.Stdin.Read(got); err != nil || string(got[:n]) != "still" {
		t.Errorf("%q, %v", got[:n], err)
	}
	if err := stdin.Abort(); err != nil {
		t.Error(err)
	}
}

// A Write fails with EPIPE when the process is gone, also a Write that waits.
func TestStdinProcessGone(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	stdin := openStdin(t, set)
	cmd := start(t, openContainer(t, Paths{Stdin: set.Paths().Stdin}), "sleep", "1000")
	ended := make(chan error)
	go func() {
		_, err := stdin.Write(bytes.Repeat([]byte("x"), 3<<20))
		ended <- err
	}()
	waitParked(t, "IO wait", "fifo.(*Stdin).Write")
	cmd.Process.Kill()
	if err := <-ended; !errors.Is(err, unix.EPIPE) {
		t.Errorf("write: %v", err)
	}
	cmd.Wait()
	if _, err := stdin.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("next write: %v", err)
	}
	if err := stdin.Abort(); err != nil {
		t.Error(err)
	}
}

// Abort works while a Write waits for a full pipe.
func TestStdinAbortWakesWrite(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	stdin := openStdin(t, set)
	files := openContainer(t, Paths{Stdin: set.Paths().Stdin})
	defer files.Close()
	ended := make(chan error)
	go func() {
		_, err := stdin.Write(make([]byte, 3<<20))
		ended <- err
	}()
	waitParked(t, "IO wait", "fifo.(*Stdin).Write")
	if err := stdin.Abort(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("write: %v", err)
	}
}
