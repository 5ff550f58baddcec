package keeper

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// A writer's stream passes through the keeper's pump and through engines that are killed at any moment: no byte is
// lost, doubled or moved.
func TestTakeReturnDie(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	c := k.dial(t)
	path, fifo := makeFIFO(t, "stdout")
	raw := makeRaw(t)
	if err := c.Hold(t.Context(), "c1/init", Stdout, fifo, raw, HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	fifo.Close()
	const lines = 1_000_000
	writer := exec.Command("/proc/self/exe", "as-writer", path, fmt.Sprint(lines))
	writer.Stderr = t.Output()
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- writer.Wait() }()
	kills := 0
	for done := false; !done; kills++ {
		killEngine(t, k)
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
	}
	t.Logf("%d engines killed", kills)
	var want bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&want, "%d\n", i)
	}
	eventually(t, "everything is in the raw file", func() bool {
		stat, err := raw.Stat()
		return err == nil && stat.Size() >= int64(want.Len())
	})
	got, err := os.ReadFile(raw.Name())
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("raw file of %d bytes is not the %d that were written: %v", len(got), want.Len(), err)
	}
}

// killEngine runs an engine until it has the stream, and some time longer.
func killEngine(t *testing.T, k *running) {
	t.Helper()
	engine := exec.Command("/proc/self/exe", "as-engine", k.socket(), "c1/init")
	out, err := engine.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	engine.Stderr = t.Output()
	if err := engine.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 1 + rand.IntN(20) {
		if !lines.Scan() {
			t.Error("the engine has ended by itself")
			break
		}
	}
	engine.Process.Kill()
	engine.Wait() // says only that it was killed
}

func TestBoundBlocksWriter(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	c := k.dial(t)
	_, fifo := makeFIFO(t, "stdout")
	raw := makeRaw(t)
	const bound = 256 << 10
	if err := c.Hold(t.Context(), "c1/init", Stdout, fifo, raw, HoldOptions{Bound: bound}); err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 4096)
	in := rawFD(t, fifo)
	total := 0
	fill := func() bool {
		for {
			n, err := unix.Write(in, line)
			if errors.Is(err, unix.EAGAIN) {
				return true
			}
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
	}
	full := func() bool {
		fill()
		return allocated(t, raw) >= bound
	}
	eventually(t, "the bound is reached", full)
	for until := time.Now().Add(5 * 100 * time.Millisecond); time.Now().Before(until); {
		fill()
		time.Sleep(time.Millisecond)
	}
	if got := allocated(t, raw); got > bound+8192 || total > bound+(256<<10) {
		t.Fatalf("%d bytes written and %d allocated with a bound of %d", total, got, bound)
	}
	// What an encoder has read gives its space back, and the writer goes on.
	if err := unix.Fallocate(rawFD(t, raw),
		unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, bound/2); err != nil {
		t.Fatal(err)
	}
	before := total
	eventually(t, "the writer goes on", func() bool { return fill() && total > before })
	eventually(t, "the bound is reached again", full)
}

func rawFD(t *testing.T, f *os.File) (fd int) {
	t.Helper()
	if err := fdpass.With([]*os.File{f}, func(fds []int) error { fd = fds[0]; return nil }); err != nil {
		t.Fatal(err)
	}
	return fd
}

func allocated(t *testing.T, f *os.File) int64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Fstat(rawFD(t, f), &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Blocks * 512
}

func TestTakeStopsThePump(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	c, other := k.dial(t), k.dial(t)
	_, fifo := makeFIFO(t, "stdout")
	raw := makeRaw(t)
	if err := c.Hold(t.Context(), "c1/init", Stdout, fifo, raw, HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		stat, err := raw.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return stat.Size()
	}
	writeString(t, fifo, "pumped")
	eventually(t, "the pump moves it", func() bool { return size() == 6 })
	stream, gotRaw, err := c.Take(t.Context(), "c1/init", Stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer gotRaw.Close()
	writeString(t, stream, "taken")
	for _, d := range []*Client{c, other} {
		if _, _, err := d.Take(t.Context(), "c1/init", Stdout); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("take of a taken stream: %v", err)
		}
	}
	if err := other.Return(t.Context(), "c1/init", Stdout); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("return of another's stream: %v", err)
	}
	var text [5]byte
	if _, err := io.ReadFull(stream, text[:]); err != nil || string(text[:]) != "taken" || size() != 6 {
		t.Errorf("taken stream has %q, raw file %d bytes, %v", text, size(), err)
	}
	writeString(t, stream, "again")
	if err := errors.Join(stream.Close(), c.Return(t.Context(), "c1/init", Stdout)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pump goes on", func() bool { return size() == 11 })
}

func TestConnectionEndReturns(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	c := k.dial(t)
	dying, err := Dial(t.Context(), k.socket())
	if err != nil {
		t.Fatal(err)
	}
	_, fifo := makeFIFO(t, "stdin")
	if err := dying.Hold(t.Context(), "c1/init", Stdin, fifo, nil, HoldOptions{Taken: true}); err != nil {
		t.Fatal(err)
	}
	want := Held{Key: "c1/init", Name: Stdin, Taken: true}
	if held, err := c.List(t.Context()); err != nil || len(held) != 1 || held[0] != want {
		t.Fatalf("held: %+v, %v", held, err)
	}
	if err := dying.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream can be taken", func() bool {
		stream, _, err := c.Take(t.Context(), "c1/init", Stdin)
		if err != nil {
			return false
		}
		return stream.Close() == nil
	})
}

func TestHoldRefusals(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	c := k.dial(t)
	_, fifo := makeFIFO(t, "stdout")
	raw := makeRaw(t)
	open := func(flags int) *os.File {
		f, err := os.OpenFile(raw.Name(), flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	_, pinned := pinnedFIFO(t)
	if err := c.Hold(t.Context(), "c1/init", Stdout, fifo, raw, HoldOptions{Taken: true}); err != nil {
		t.Fatal(err)
	}
	before := k.fds(t)
	for _, test := range []struct {
		what, key, name string
		stream, raw     *os.File
		bound           int64
		is              func(error) bool
	}{
		{"held already", "c1/init", Stdout, fifo, raw, 0, errdefs.IsAlreadyExists},
		{"empty key", "", Stdout, fifo, nil, 0, errdefs.IsInvalidArgument},
		{"long key", string(bytes.Repeat([]byte("k"), wire.MaxKey+1)), Stdout, fifo, nil, 0, errdefs.IsInvalidArgument},
		{"bad key", "a\nb", Stdout, fifo, nil, 0, errdefs.IsInvalidArgument},
		{"bad name", "c2", "stdlog", fifo, nil, 0, errdefs.IsInvalidArgument},
		{"no name", "c2", "", fifo, nil, 0, errdefs.IsInvalidArgument},
		{"negative bound", "c2", Stdout, fifo, raw, -1, errdefs.IsInvalidArgument},
		{"file as stream", "c2", Stdout, raw, nil, 0, errdefs.IsInvalidArgument},
		{"path as stream", "c2", Stdout, pinned, nil, 0, errdefs.IsInvalidArgument},
		{"FIFO as a start's", "c2", StartFIFO, fifo, nil, 0, errdefs.IsInvalidArgument},
		{"start's FIFO with a raw file", "c2", StartFIFO, pinned, raw, 0, errdefs.IsInvalidArgument},
		{"FIFO as raw file", "c2", Stdout, fifo, fifo, 0, errdefs.IsInvalidArgument},
		{"raw file for reading", "c2", Stdout, fifo, open(os.O_RDONLY), 0, errdefs.IsInvalidArgument},
		{"raw file for appending", "c2", Stdout, fifo, open(os.O_WRONLY | os.O_APPEND), 0, errdefs.IsInvalidArgument},
		{"no stream", "c2", Stdout, nil, nil, 0, errdefs.IsInvalidArgument},
	} {
		err := c.Hold(t.Context(), test.key, test.name, test.stream, test.raw, HoldOptions{Bound: test.bound})
		if !test.is(err) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
	if _, _, err := c.Take(t.Context(), "c2", Stdout); !errdefs.IsNotFound(err) {
		t.Errorf("take of nothing: %v", err)
	}
	for range 2 {
		if err := c.Release(t.Context(), "c1/init", ""); err != nil {
			t.Error(err)
		}
	}
	if after := k.fds(t); after != before-2 {
		t.Errorf("keeper has %d descriptors, not %d", after, before-2)
	}
}

// pinnedFIFO makes a FIFO, and opens it with O_PATH.
func pinnedFIFO(t *testing.T) (path string, pinned *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pinned, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pinned.Close() })
	return path, pinned
}

// TestStartFIFO: a writer that waits for a reader goes on with the keeper's, also when the client is gone.
func TestStartFIFO(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	path, pinned := pinnedFIFO(t)
	first := k.dial(t)
	before := k.fds(t)
	if err := first.Hold(t.Context(), "c1/init", StartFIFO, pinned, nil, HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("0"); err != nil {
		t.Fatal(err)
	}
	writer.Close()

	c := k.dial(t)
	held, _, err := c.Take(t.Context(), "c1/init", StartFIFO)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	got := make([]byte, 2)
	if n, err := held.Read(got); n != 1 || got[0] != '0' {
		t.Errorf("read %q, %v", got[:n], err)
	}
	if err := c.Release(t.Context(), "c1/init", ""); err != nil {
		t.Fatal(err)
	}
	if after := k.fds(t); after != before {
		t.Errorf("keeper has %d descriptors, not %d", after, before)
	}
}

func TestListAll(t *testing.T) {
	k := startKeeper(t, t.TempDir())
	c := k.dial(t)
	_, fifo := makeFIFO(t, "stdout")
	const n = 3*128 + 7
	for i := range n {
		if err := c.Hold(t.Context(), fmt.Sprintf("%0*d", wire.MaxKey, i), Stdin,
			fifo, nil, HoldOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	held, err := c.List(t.Context())
	if err != nil || len(held) != n {
		t.Fatalf("%d held, %v", len(held), err)
	}
	for i, h := range held {
		if h.Key != fmt.Sprintf("%0*d", wire.MaxKey, i) {
			t.Fatalf("stream %d is %s", i, h.Key)
		}
	}
}
