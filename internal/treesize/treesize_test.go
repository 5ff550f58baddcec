package treesize

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, bytes int) {
	t.Helper()
	must(t, os.WriteFile(path, make([]byte, bytes), 0o600))
}

// blocks is what the entries take by themselves.
func blocks(t testing.TB, paths ...string) int64 {
	t.Helper()
	var sum int64
	for _, path := range paths {
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		sum += st.Blocks * blockSize
	}
	return sum
}

func TestSize(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "big"), 1<<20)
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(at("a/b/c"), 0o700))
	write(t, at("a/file"), 10_000)
	write(t, at("a/b/c/deep"), 5000)
	must(t, os.Link(at("a/file"), at("a/b/again")))
	must(t, os.Symlink(outside, at("a/link")))
	must(t, unix.Mkfifo(at("fifo"), 0o600))
	write(t, at("sparse"), 0)
	must(t, os.Truncate(at("sparse"), 1<<30))
	for i := range batch + 10 {
		write(t, at("a/b/"+strings.Repeat("x", 1+i%200)+string(rune('a'+i/200))), 0)
	}
	got, err := NewMeter(1, Blocks).Size(t.Context(), dir)
	must(t, err)
	want := blocks(t, dir, at("a"), at("a/b"), at("a/b/c"), at("a/file"), at("a/b/c/deep"), at("a/link"), at("fifo"), at("sparse"))
	if got != want {
		t.Errorf("%d bytes, not %d", got, want)
	}
	// A symlink is as long as its target's name.
	got, err = NewMeter(1, Lengths).Size(t.Context(), dir)
	must(t, err)
	if want := int64(10_000 + 5000 + 1<<30 + len(outside)); got != want {
		t.Errorf("%d bytes in length, not %d", got, want)
	}
}

func TestSizeOfNothing(t *testing.T) {
	dir := t.TempDir()
	m := NewMeter(1, Blocks)
	if _, err := m.Size(t.Context(), filepath.Join(dir, "none")); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	must(t, os.Symlink(dir, filepath.Join(dir, "link")))
	if _, err := m.Size(t.Context(), filepath.Join(dir, "link")); err == nil {
		t.Error("a symlink was followed")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no client")
	cancel(cause)
	if _, err := m.Size(ctx, dir); !errors.Is(err, cause) {
		t.Error(err)
	}
	if len(m.trees) > 0 {
		t.Errorf("trees are left: %v", m.trees)
	}
}

// TestPathsTooLong has a tree that is deeper than a path can be long.
func TestPathsTooLong(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	name := strings.Repeat("d", 255)
	for range 40 {
		must(t, unix.Mkdirat(fd, name, 0o700))
		below, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = below
	}
	must(t, unix.Close(fd))
	if _, err := NewMeter(1, Blocks).Size(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

// TestChangingTree measures a tree whose files come and go, and whose directory turns into a symlink that leads out.
func TestChangingTree(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "big"), 1<<20)
	must(t, os.Mkdir(filepath.Join(outside, "sub"), 0o700))
	write(t, filepath.Join(outside, "sub", "big"), 1<<20)
	var stop atomic.Bool
	var changes sync.WaitGroup
	changes.Go(func() {
		path := filepath.Join(dir, "swapped")
		for !stop.Load() {
			_ = os.MkdirAll(filepath.Join(path, "sub"), 0o700)
			_ = os.WriteFile(filepath.Join(path, "sub", "file"), nil, 0o600)
			_ = os.RemoveAll(path)
			_ = os.Symlink(outside, path)
			_ = os.Remove(path)
		}
	})
	m := NewMeter(1, Blocks)
	for range 2000 {
		size, err := m.Size(t.Context(), dir)
		if err != nil || size >= 1<<20 {
			t.Errorf("%d bytes, %v", size, err)
			break
		}
	}
	stop.Store(true)
	changes.Wait()
}

// TestWalksAreShared has many calls for a tree during one walk: a second walk serves all of them.
func TestWalksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMeter(3, Blocks)
		goOn := make(chan int64)
		m.walk = func(context.Context, string, Count) (int64, error) { return <-goOn, nil }
		var calls sync.WaitGroup
		ask := func(want int64) {
			calls.Go(func() {
				if got, err := m.Size(t.Context(), "a"); err != nil || got != want {
					t.Errorf("%d, %v", got, err)
				}
			})
			synctest.Wait()
		}
		ask(1)
		for range 10 {
			ask(2) // not 1: that walk began before the call
		}
		goOn <- 1
		goOn <- 2
		calls.Wait()
		if len(m.trees) > 0 {
			t.Errorf("trees are left: %v", m.trees)
		}
	})
}

// TestFailedWalk has a caller whose context ends in its walk: who waits walks anew.
func TestFailedWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMeter(1, Blocks)
		m.walk = func(ctx context.Context, _ string, _ Count) (int64, error) {
			if ctx.Value(t) != nil {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 7, nil
		}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), t, true))
		var calls sync.WaitGroup
		calls.Go(func() {
			if _, err := m.Size(ctx, "a"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		calls.Go(func() {
			if got, err := m.Size(t.Context(), "a"); err != nil || got != 7 {
				t.Errorf("%d, %v", got, err)
			}
		})
		synctest.Wait()
		cancel()
		calls.Wait()
	})
}

func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMeter(2, Blocks)
		var now, most atomic.Int32
		goOn := make(chan struct{})
		m.walk = func(context.Context, string, Count) (int64, error) {
			most.Store(max(most.Load(), now.Add(1)))
			<-goOn
			now.Add(-1)
			return 0, nil
		}
		var calls sync.WaitGroup
		for _, dir := range []string{"a", "b", "c", "d"} {
			calls.Go(func() { _, _ = m.Size(t.Context(), dir) })
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := m.Size(ctx, "e"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(goOn)
		calls.Wait()
		if most.Load() != 2 {
			t.Errorf("%d walks at once", most.Load())
		}
	})
}
