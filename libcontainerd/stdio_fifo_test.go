package libcontainerd

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/fifo"
)

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func config(process string) StreamsConfig {
	return StreamsConfig{ContainerID: "c", ProcessID: process, StdioConfig: StdioConfig{Stdin: true}}
}

// opened makes the streams of a process, and opens the process's ends as a daemon does.
func opened(t *testing.T, s Stdio, c StreamsConfig) (Streams, fifo.ContainerFiles) {
	t.Helper()
	st, err := s.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fifo.OpenContainer(t.Context(), fifo.Paths(st.Paths()))
	if err != nil {
		t.Fatal(err)
	}
	return st, files
}

func closed(t *testing.T, all ...io.Closer) {
	t.Helper()
	for _, c := range all {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFIFOBothWaysAndNothingLeft(t *testing.T) {
	before, root := descriptors(t), t.TempDir()
	st, files := opened(t, FIFO(root), config(InitProcess))
	if _, err := io.WriteString(st.Stdin(), "in"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if _, err := io.ReadFull(files.Stdin, b); err != nil || string(b) != "in" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := files.Stdout.WriteString("out"); err != nil {
		t.Fatal(err)
	}
	st.ExitKnown()
	out, err := io.ReadAll(st.Stdout())
	if err != nil || string(out) != "out" {
		t.Fatalf("%q, %v", out, err)
	}
	closed(t, files, st, st)
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestFIFODetachAndRestore(t *testing.T) {
	before, s := descriptors(t), FIFO(t.TempDir())
	st, files := opened(t, s, config("e1"))
	if err := st.Detach(); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Stdout.WriteString("nobody reads"); err != nil {
		t.Fatal(err)
	}
	c := config("e1")
	c.StdinClosed = true
	st, err := s.Restore(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ioClosed := make(chan struct{})
	st.ReleaseStdin(func() error { close(ioClosed); return nil })
	<-ioClosed
	st.ExitKnown()
	if out, err := io.ReadAll(st.Stdout()); err != nil || string(out) != "nobody reads" {
		t.Fatalf("%q, %v", out, err)
	}
	closed(t, files, st)
	if _, err := s.Restore(t.Context(), c); !errdefs.IsNotFound(err) {
		t.Fatalf("restored what was closed: %v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestFIFOReplacesStaleStreams(t *testing.T) {
	root := t.TempDir()
	s := FIFO(root)
	first, err := s.Create(t.Context(), config(InitProcess))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Detach(); err != nil {
		t.Fatal(err)
	}
	second, err := s.Create(t.Context(), StreamsConfig{ContainerID: "c", ProcessID: InitProcess, StdioConfig: StdioConfig{Terminal: true}})
	if err != nil {
		t.Fatal(err)
	}
	if p := second.Paths(); p.Stdin != "" || p.Stderr != "" || p.Stdout != filepath.Join(root, "c", "init", "stdout") {
		t.Errorf("paths %+v", p)
	}
	if second.Stdin() != nil || second.Stderr() != nil {
		t.Error("streams that nobody asked for")
	}
	closed(t, second)
}

func TestFIFODetachedAndRefused(t *testing.T) {
	root := t.TempDir()
	st, err := FIFO(root).Create(t.Context(), StreamsConfig{ContainerID: "c", ProcessID: "p", StdioConfig: StdioConfig{Detached: true}})
	if err != nil || st.Paths() != (StdioPaths{}) || st.Stdin() != nil || st.Stdout() != nil || st.Stderr() != nil {
		t.Fatalf("%+v, %v", st, err)
	}
	st.ExitKnown()
	st.ReleaseStdin(func() error { return errors.New("called without a stdin") })
	closed(t, st)
	for _, c := range []StreamsConfig{{ContainerID: "../c", ProcessID: "p"}, {ContainerID: "c", ProcessID: ".."}, {}} {
		if _, err := FIFO(root).Create(t.Context(), c); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %v", c, err)
		}
		if _, err := FIFO(root).Restore(t.Context(), c); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := FIFO("relative").Create(t.Context(), config("p")); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestFIFOCreateWhileOthersClose makes and closes the streams of several processes of
// one container at once. The container's directory is removed with the last of them.
func TestFIFOCreateWhileOthersClose(t *testing.T) {
	root := t.TempDir()
	var wg sync.WaitGroup
	var ids atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 50 {
				id := string(rune('a'+ids.Add(1)%26)) + string(rune('a'+ids.Add(1)/26%26)) +
					string(rune('a'+ids.Add(1)/676))
				st, err := FIFO(root).Create(t.Context(), StreamsConfig{ContainerID: "c", ProcessID: id})
				if err != nil {
					t.Error(err)
					return
				}
				if err := st.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestFIFOCloseRacesRelease has the Close and the ReleaseStdin of stdin meet
// in all orders, while the streams are closed.
func TestFIFOCloseRacesRelease(t *testing.T) {
	s := FIFO(t.TempDir())
	for range 200 {
		st, files := opened(t, s, config("p"))
		ioClosed := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { _ = st.Stdin().Close() })
		wg.Go(func() { st.ReleaseStdin(func() error { close(ioClosed); return nil }) })
		<-ioClosed
		wg.Wait()
		closed(t, files, st)
	}
}

func TestFIFOKeep(t *testing.T) {
	before, root := descriptors(t), t.TempDir()
	c := config(InitProcess)
	c.Keep = true
	st, files := opened(t, FIFO(root), c)
	closed(t, st, files)
	paths := st.Paths()
	for _, path := range []string{paths.Stdin, paths.Stdout, paths.Stderr} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	c.Keep = false // the next process of the same name replaces them
	st, files = opened(t, FIFO(root), c)
	closed(t, st, files)
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// An engine lists the streams that a killed engine left: complete ones, half-made ones,
// and an empty directory, which Leftovers removes.
func TestLeftovers(t *testing.T) {
	root := filepath.Join(t.TempDir(), "stdio")
	f := &fifoStdio{root: root}
	if left, err := f.Leftovers(); err != nil || len(left) != 0 {
		t.Errorf("without a root: %v, %v", left, err)
	}
	for _, process := range []string{InitProcess, "e"} {
		st, files := opened(t, f, config(process))
		closed(t, files)
		if err := st.Detach(); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range []string{"half/init", "empty"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	left, err := f.Leftovers()
	if err != nil || len(left) != 2 || len(left["c"]) != 2 || len(left["half"]) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(root, "empty")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty directory: %v", err)
	}
	for id, processes := range left {
		for _, process := range processes {
			st, err := f.Restore(t.Context(), StreamsConfig{ContainerID: id, ProcessID: process})
			if err != nil {
				t.Fatal(err)
			}
			closed(t, st)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
