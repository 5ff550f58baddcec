package heldstdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// fakeKeeper does what the keeper does: it moves the bytes of a stream that nobody has taken to the end of its raw
// file.
type fakeKeeper struct {
	mu   sync.Mutex
	held map[string]*hold
	// bound is that of the last hold.
	bound int64
}

type hold struct{ stream, raw *os.File }

func (k *fakeKeeper) Hold(_ context.Context, key, name string, stream, raw *os.File, o keeper.HoldOptions) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held[key+"/"+name] != nil {
		return errdefs.ErrAlreadyExists
	}
	if !o.Taken || raw == nil {
		return errdefs.ErrInvalidArgument
	}
	k.held[key+"/"+name], k.bound = &hold{again(stream), again(raw)}, o.Bound
	return nil
}

// again is another descriptor of a file.
func again(f *os.File) *os.File {
	d, err := duplicate(f)
	if err != nil {
		panic(err)
	}
	return d
}

// engineDied moves what is in the streams.
func (k *fakeKeeper) engineDied(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, h := range k.held {
		info, err := h.raw.Stat()
		if err != nil {
			t.Fatal(err)
		}
		at := info.Size()
		for {
			n, err := unix.Splice(int(h.stream.Fd()), nil, int(h.raw.Fd()), &at, 1<<20, unix.SPLICE_F_NONBLOCK)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil || n == 0 {
				t.Fatalf("%s: %d, %v", name, n, err)
			}
		}
	}
}

func (k *fakeKeeper) Take(_ context.Context, key, name string) (stream, raw *os.File, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[key+"/"+name]
	if h == nil {
		return nil, nil, errdefs.ErrNotFound
	}
	return again(h.stream), again(h.raw), nil
}

func (k *fakeKeeper) Release(_ context.Context, key, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, h := range k.held {
		if strings.HasPrefix(id, key+"/"+name) {
			h.stream.Close()
			h.raw.Close()
			delete(k.held, id)
		}
	}
	return nil
}

func (k *fakeKeeper) List(context.Context) (all []keeper.Held, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.held {
		all = append(all, keeper.Held{Key: id[:strings.LastIndex(id, "/")]})
	}
	return all, nil
}

// rig is an engine's side of one process; newEngine makes the next one.
type rig struct {
	t       *testing.T
	fifos   string
	files   string
	keeper  *fakeKeeper
	outputs *Outputs
	stdio   *Stdio
	end     context.CancelFunc
	gone    int
}

var config = libcontainerd.StreamsConfig{ContainerID: "c", ProcessID: libcontainerd.InitProcess}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, fifos: t.TempDir(), files: t.TempDir(), keeper: &fakeKeeper{held: map[string]*hold{}}}
	r.newEngine()
	t.Cleanup(func() {
		r.must(r.outputs.Close())
		r.must(r.keeper.Release(t.Context(), "ns/c/init", ""))
	})
	return r
}

func (r *rig) newEngine() {
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	r.outputs = NewOutputs(r.files, 0)
	r.stdio = &Stdio{
		Inner: libcontainerd.FIFO(r.fifos), Keeper: r.keeper, Namespace: "ns", Find: r.outputs.Find, Engine: ctx,
		Gone: func(string, string) { r.gone++ }, Bound: rawBound,
	}
}

const rawBound = 5 << 20

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// attach does what the client does with streams.
func (r *rig) attach(s libcontainerd.Streams, restored bool) {
	r.t.Helper()
	r.must(r.outputs.Attach(libcontainerd.ProcessStreams{
		Streams: s, ContainerID: config.ContainerID, ProcessID: config.ProcessID, Restored: restored,
	}))
	s.ReleaseStdin(func() error { return nil })
}

// awaitSaid waits until a spool has so many bytes.
func (r *rig) awaitSaid(name string, n int64) {
	r.t.Helper()
	s, err := r.outputs.Spool(config.ContainerID, config.ProcessID, name)
	r.must(err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, to := s.Kept(); to >= n {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s does not come", name)
		}
	}
}

// said is all that the file of an output has.
func (r *rig) said(name string) string {
	r.t.Helper()
	path, err := r.outputs.File(config.ContainerID, config.ProcessID, name)
	r.must(err)
	text, err := os.ReadFile(path)
	r.must(err)
	return string(text)
}

// TestOutputSurvives kills engines while a process writes: no byte is lost, none is twice, and a reader goes on where
// it stood.
func TestOutputSurvives(t *testing.T) {
	r := newRig(t)
	s, err := r.stdio.Create(t.Context(), config)
	r.must(err)
	process, err := fifo.OpenContainer(t.Context(), fifo.Paths(s.Paths()))
	r.must(err)
	r.attach(s, false)
	want := ""
	say := func(text string) {
		t.Helper()
		_, err := process.Stdout.WriteString(text)
		r.must(err)
		_, err = process.Stderr.WriteString(text)
		r.must(err)
		want += text
	}
	for engine := range 4 {
		say(fmt.Sprintf("engine %d reads\n", engine))
		r.awaitSaid(keeper.Stdout, int64(len(want)))
		r.awaitSaid(keeper.Stderr, int64(len(want)))
		r.must(s.Detach()) // as a death: the streams' descriptors are closed
		r.must(r.outputs.Close())
		say(fmt.Sprintf("no engine after %d\n", engine))
		r.keeper.engineDied(t)
		say("in the pipe\n")
		r.newEngine()
		s, err = r.stdio.Restore(t.Context(), config)
		r.must(err)
		r.attach(s, true)
	}
	r.must(process.Close())
	s.ExitKnown()
	r.must(r.outputs.Drain(t.Context(), config.ContainerID, config.ProcessID))
	for _, name := range []string{keeper.Stdout, keeper.Stderr} {
		if got := r.said(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
		spool, err := r.outputs.Spool(config.ContainerID, config.ProcessID, name)
		r.must(err)
		const from = 7
		if got, err := io.ReadAll(spool.Reader(from)); err != nil || string(got) != want[from:] {
			t.Errorf("a reader of %s has %q, %v", name, got, err)
		}
	}
	r.must(s.Close())
	if held, _ := r.keeper.List(t.Context()); len(held) > 0 || r.gone > 0 {
		t.Errorf("the keeper still has %v; gone: %d", held, r.gone)
	}
	r.must(r.outputs.Remove(config.ContainerID, ""))
	if _, err := r.outputs.Spool(config.ContainerID, config.ProcessID, keeper.Stdout); !errdefs.IsNotFound(err) {
		t.Errorf("after the removal: %v", err)
	}
	if left, _ := os.ReadDir(r.files); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestNextRunBeginsEmpty starts a process again.
func TestNextRunBeginsEmpty(t *testing.T) {
	r := newRig(t)
	for range 2 {
		s, err := r.stdio.Create(t.Context(), config)
		r.must(err)
		if r.keeper.bound != rawBound {
			t.Errorf("the keeper was told the bound %d", r.keeper.bound)
		}
		process, err := fifo.OpenContainer(t.Context(), fifo.Paths(s.Paths()))
		r.must(err)
		r.attach(s, false)
		_, err = process.Stdout.WriteString("hello\n")
		r.must(errors.Join(err, process.Close()))
		s.ExitKnown()
		r.must(r.outputs.Drain(t.Context(), config.ContainerID, config.ProcessID))
		if got := r.said(keeper.Stdout); got != "hello\n" {
			t.Errorf("the file has %q", got)
		}
		r.must(s.Close())
	}
}

// TestUnreadIsLeftToTheNext ends the engine while there is output that it has not read: the streams stay.
func TestUnreadIsLeftToTheNext(t *testing.T) {
	r := newRig(t)
	s, err := r.stdio.Create(t.Context(), config)
	r.must(err)
	process, err := fifo.OpenContainer(t.Context(), fifo.Paths(s.Paths()))
	r.must(err)
	defer process.Close()
	r.attach(s, false)
	r.end()
	r.must(s.Close())
	if held, _ := r.keeper.List(t.Context()); len(held) != 2 {
		t.Errorf("the keeper has %v", held)
	}
	r.must(r.outputs.Close())
	r.newEngine()
	s, err = r.stdio.Restore(t.Context(), config)
	r.must(err)
	r.attach(s, true)
	s.ExitKnown()
	r.must(r.outputs.Drain(t.Context(), config.ContainerID, config.ProcessID))
	r.must(s.Close())
	if held, _ := r.keeper.List(t.Context()); len(held) != 0 {
		t.Errorf("the keeper has %v", held)
	}
}

// TestHalfStarted kills an engine in the middle of a start: the container's removal by the next engine leaves nothing.
func TestHalfStarted(t *testing.T) {
	r := newRig(t)
	s, err := r.stdio.Create(t.Context(), config)
	r.must(err)
	r.must(s.Detach())
	r.must(r.outputs.Close())
	r.newEngine()
	r.must(r.stdio.RemoveStreams(t.Context(), "other"))
	if held, _ := r.keeper.List(t.Context()); len(held) != 2 {
		t.Errorf("the keeper has %v", held)
	}
	r.must(r.stdio.RemoveStreams(t.Context(), config.ContainerID))
	held, _ := r.keeper.List(t.Context())
	left, _ := os.ReadDir(r.fifos)
	if len(held)+len(left) > 0 {
		t.Errorf("the keeper has %v; FIFOs: %v", held, left)
	}
}

// full is an output that no disk takes.
type full struct{ libcontainerd.Output }

func (full) Splice(*os.File, int64, int) (int64, error) { return 0, unix.ENOSPC }

type fullStreams struct{ libcontainerd.Streams }

func (s fullStreams) Stdout() libcontainerd.Output { return full{s.Streams.Stdout()} }

// TestFullDisk has a disk that takes no output: who drains is told, and the streams are left to the next engine.
func TestFullDisk(t *testing.T) {
	r := newRig(t)
	s, err := r.stdio.Create(t.Context(), config)
	r.must(err)
	r.attach(fullStreams{s}, false)
	s.ExitKnown()
	if err := r.outputs.Drain(t.Context(), config.ContainerID, config.ProcessID); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("drain: %v", err)
	}
	r.end()
	r.must(s.Close())
	if held, _ := r.keeper.List(t.Context()); len(held) != 2 {
		t.Errorf("the keeper has %v", held)
	}
	if err := r.outputs.Remove(config.ContainerID, ""); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("removal: %v", err)
	}
}

// TestStreamsAreGone restores a process whose FIFOs were removed, as by a reboot.
func TestStreamsAreGone(t *testing.T) {
	r := newRig(t)
	s, err := r.stdio.Restore(t.Context(), config)
	r.must(err)
	r.attach(s, true)
	if r.gone != 1 || s.Stdout() != nil {
		t.Errorf("gone %d times, stdout %v", r.gone, s.Stdout())
	}
	r.must(s.Close())
	for _, id := range []string{"", "..", "a/b"} {
		if _, err := r.outputs.Find(id, "init", false); !errdefs.IsInvalidArgument(err) {
			t.Errorf("container %q: %v", id, err)
		}
		if err := r.outputs.Remove(id, ""); !errdefs.IsInvalidArgument(err) {
			t.Errorf("removal of container %q: %v", id, err)
		}
	}
}
