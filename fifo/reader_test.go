package fifo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReaderBelievesNoEndBeforeTheExit(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	ended := make(chan string)
	go func() {
		all, err := io.ReadAll(reader)
		ended <- string(all) + errorText(err)
	}()
	for range 3 { // no writer before, between and after the writers
		waitParked(t, "IO wait", "fifo.(*Reader).Read")
		writer := openContainer(t, set.Paths()).Stdout
		if _, err := writer.WriteString("line\n"); err != nil {
			t.Fatal(err)
		}
		writer.Close()
	}
	waitParked(t, "IO wait", "fifo.(*Reader).Read")
	reader.ExitKnown()
	reader.ExitKnown()
	if got := <-ended; got != "line\nline\nline\n" {
		t.Errorf("read %q", got)
	}
	if n, err := reader.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %d, %v", n, err)
	}
	if n, err := reader.Read(nil); n != 0 || err != nil {
		t.Errorf("empty read: %d, %v", n, err)
	}
}

func TestReaderCloseWakes(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	ended := make(chan error)
	go func() {
		_, err := reader.Read(make([]byte, 1))
		ended <- err
	}()
	waitParked(t, "IO wait", "fifo.(*Reader).Read")
	for range 2 {
		if err := reader.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	reader.ExitKnown()
	if _, err := reader.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

// The process has exited, and a grandchild has its stdout open.
func TestGrandchildHoldsStdout(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	cmd := start(t, openContainer(t, Paths{Stdout: set.Paths().Stdout}),
		"sh", "-c", `busybox sleep 1000 & echo $!`)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	reader.ExitKnown()
	all, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(all)))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("the grandchild was not there: %v", err)
	}
}

// The grandchild has stdout open and never stops writing.
func TestGrandchildFloodsStdout(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	pids, err := set.OpenStderr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pids.Close()
	cmd := start(t, openContainer(t, Paths{Stdout: set.Paths().Stdout, Stderr: set.Paths().Stderr}),
		"sh", "-c", `busybox yes & echo $! >&2`)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	pids.ExitKnown()
	text, err := io.ReadAll(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(pid, unix.SIGKILL)
	if _, err := reader.Read(make([]byte, 1)); err != nil { // the grandchild writes
		t.Fatal(err)
	}
	reader.ExitKnown()
	n, err := io.CopyN(io.Discard, reader, 100<<20)
	if !errors.Is(err, io.EOF) || n > int64(reader.PipeSize()) {
		t.Errorf("%d bytes after the exit, the pipe holds %d; %v", n, reader.PipeSize(), err)
	}
}

// The process writes and exits before the reader reads.
func TestWrittenAndGone(t *testing.T) {
	for _, size := range []int{1, 4096, 64 << 10, 64<<10 + 1, wantedPipeSize} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			checkLeaks(t)
			set := newSet(t)
			reader := openStdout(t, set)
			if reader.PipeSize() != wantedPipeSize {
				t.Fatalf("pipe size %d", reader.PipeSize())
			}
			cmd := start(t, openContainer(t, Paths{Stdout: set.Paths().Stdout}),
				"dd", "if=/dev/zero", "bs="+strconv.Itoa(size), "count=1")
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			reader.ExitKnown()
			all, err := io.ReadAll(reader)
			if err != nil || len(all) != size {
				t.Errorf("%d bytes, %v", len(all), err)
			}
		})
	}
}

// The process writes more than the pipe holds, while the reader reads.
func TestMoreThanThePipe(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	cmd := start(t, openContainer(t, Paths{Stdout: set.Paths().Stdout}),
		"dd", "if=/dev/zero", "bs=1000003", "count=20")
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		reader.ExitKnown()
	})
	n, err := io.Copy(io.Discard, reader)
	if err != nil || n != 20*1000003 {
		t.Errorf("%d bytes, %v", n, err)
	}
	wg.Wait()
}

// The process exits without having opened its end.
func TestExitBeforeAnyoneOpened(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	cmd := start(t, openContainer(t, set.Paths()), "true")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	reader := openStdout(t, set)
	reader.ExitKnown()
	if all, err := io.ReadAll(reader); err != nil || len(all) != 0 {
		t.Errorf("%q, %v", all, err)
	}
	stdin, err := set.OpenStdin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := stdin.Abort(); err != nil {
		t.Error(err)
	}
}

// In every order of events, a reader ends, and has read the bytes that were written before
// the exit was known.
func TestExitRaces(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	want := bytes.Repeat([]byte("0123456789"), 100)
	for range 200 {
		reader, err := set.OpenStdout(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		files := openContainer(t, Paths{Stdout: set.Paths().Stdout})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := files.Stdout.Write(want); err != nil {
				t.Error(err)
			}
			files.Close()
			reader.ExitKnown()
		})
		if all, err := io.ReadAll(reader); err != nil || !bytes.Equal(all, want) {
			t.Fatalf("%d bytes, %v", len(all), err)
		}
		wg.Wait()
		reader.Close()
	}
}

func TestOpenCloseRaces(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	var wg sync.WaitGroup
	for range 100 {
		reader, err := set.OpenStdout(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			wg.Go(func() {
				_, err := reader.Read(make([]byte, 1))
				if !errors.Is(err, os.ErrClosed) && !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			})
		}
		wg.Go(reader.ExitKnown)
		wg.Go(func() { reader.Close() })
	}
	wg.Wait()
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The output ends with the bytes that were in the pipe when the exit was known. Bytes that
// other processes write after that don't belong to it.
func TestDrainTakesNoMore(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	files := openContainer(t, Paths{Stdout: set.Paths().Stdout})
	if _, err := files.Stdout.WriteString("before"); err != nil {
		t.Fatal(err)
	}
	reader.ExitKnown()
	var got []byte
	for buf := make([]byte, 4); ; {
		n, err := reader.Read(buf)
		got = append(got, buf[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := files.Stdout.WriteString(" after"); err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != "before" {
		t.Errorf("read %q", got)
	}
	files.Close()
}

// Another process has read the bytes that were left.
func TestDrainOfTakenOutput(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader, other := openStdout(t, set), openStdout(t, set)
	files := openContainer(t, Paths{Stdout: set.Paths().Stdout})
	if _, err := files.Stdout.WriteString("output"); err != nil {
		t.Fatal(err)
	}
	reader.ExitKnown()
	if n, err := reader.Read(make([]byte, 2)); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := other.Read(make([]byte, 100)); n != 4 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := reader.Read(make([]byte, 2)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d, %v", n, err)
	}
	files.Close()
}

// TestCloseWhileTheExitBecomesKnown has Close and ExitKnown end the same Read.
func TestCloseWhileTheExitBecomesKnown(t *testing.T) {
	set := newSet(t)
	for range 3000 {
		r, err := set.OpenStdout(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := r.Read(make([]byte, 1))
			ended <- err
		}()
		closed := make(chan error, 1)
		go func() { closed <- r.Close() }()
		r.ExitKnown()
		if err := <-ended; !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
			t.Fatalf("a read that was ended: %v", err)
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	}
}
