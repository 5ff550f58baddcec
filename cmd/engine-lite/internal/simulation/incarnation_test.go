package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/journal"
)

// incarnation is one engine's life, in a root directory of its own.
//
// One that is killed stops dead: whichever of its goroutines next reaches a tap
// stays there, so that it changes nothing any more. It is thawed, with errors
// for all that it asks, when the run has been judged, so that its goroutines
// can be joined.
type incarnation struct {
	w       *world
	root    string
	engine  *engine.Engine
	journal *journal.Journal
	// attached ends with the engine's life, for calls that would go on for ever;
	// ctx ends when a killed engine is thawed.
	attached, ctx  context.Context
	detach, cancel context.CancelFunc
	calls          sync.WaitGroup
	opened         chan error // takes one
	closing        bool       // by close, which ends when it is thawed

	killed atomic.Bool
	died   chan struct{} // closed when it was killed
	gone   chan struct{} // closed when it was killed, or is about to be closed
	leave  func()        // closes gone
	thawed chan struct{}

	mu      sync.Mutex
	streams map[*streamsTap]bool
}

func (w *world) newIncarnation(root string) *incarnation {
	i := &incarnation{
		w: w, root: root, opened: make(chan error, 1), gone: make(chan struct{}), died: make(chan struct{}), thawed: make(chan struct{}),
		streams: map[*streamsTap]bool{},
	}
	i.leave = sync.OnceFunc(func() { close(i.gone) })
	i.ctx, i.cancel = context.WithCancel(context.Background())
	i.attached, i.detach = context.WithCancel(i.ctx)
	return i
}

// leaving tells that the engine's end has begun.
func (i *incarnation) leaving() bool {
	select {
	case <-i.gone:
		return true
	default:
		return false
	}
}

func (i *incarnation) isDead() bool { return i.killed.Load() }

// freeze is where a killed engine's goroutines stay.
func (i *incarnation) freeze() error {
	<-i.thawed
	return errCrashed
}

// crash kills the engine, on a goroutine of its own.
func (i *incarnation) crash() error {
	if i.killed.CompareAndSwap(false, true) {
		i.leave()
		i.mu.Lock()
		for s := range i.streams {
			s.dropped()
		}
		i.mu.Unlock()
		close(i.died)
	}
	return i.freeze()
}

func (i *incarnation) hold(s *streamsTap) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.streams[s] = true
}

func (i *incarnation) letGo(s *streamsTap) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.streams, s)
}

// open opens the engine, which may be killed meanwhile.
func (i *incarnation) open() error {
	w := i.w
	i.calls.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		e, err := engine.Open(ctx, engine.Options{
			Root: i.root, Version: "simulated", Runtime: "fake", OpenJournal: i.openJournal,
			OpenImages: func(context.Context, string) (engine.Images, error) { return imageStub{inc: i}, nil },
		}, newWire(i), stdioTap{i}, keeperTap{w.keeper, i})
		if err == nil {
			i.engine = e
		}
		i.opened <- err
	})
	select {
	case err := <-i.opened:
		i.opened <- err
		return err
	case <-i.died:
		return errCrashed
	}
}

// do makes a user's call. A user of an engine that is killed, or ends, before the
// answer gets errCrashed.
func do[T any](i *incarnation, fn func(ctx context.Context, e *engine.Engine) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	i.calls.Go(func() {
		value, err := fn(i.ctx, i.engine)
		done <- answer{value, err}
	})
	var none T
	select {
	case a := <-done:
		if i.isDead() {
			return none, errCrashed
		}
		return a.value, a.err
	case <-i.gone:
		return none, errCrashed
	}
}

// close ends an engine in order: its callers have gone, and what they asked for
// has been done. It may be killed meanwhile.
func (i *incarnation) close() error {
	i.leave()
	i.detach()
	i.closing = true
	closed := make(chan error, 1)
	answered := make(chan struct{})
	go func() {
		i.calls.Wait()
		close(answered)
	}()
	go func() {
		select {
		case <-answered:
		case <-i.thawed: // a call may wait for the engine's end
		}
		closed <- i.engine.Close()
	}()
	select {
	case err := <-closed:
		i.cancel()
		return err
	case <-i.died:
		return errCrashed
	}
}

// bury joins what a killed engine had.
func (i *incarnation) bury() {
	i.cancel()
	close(i.thawed)
	if err := <-i.opened; err == nil && !i.closing {
		_ = i.engine.Close() // it can do nothing, and says so
	}
	i.calls.Wait()
}

// inherit makes the root directory that the next engine finds, of what a killed
// one has left: the journal as it is on the disk now, and the files.
func (w *world) inherit(dead *incarnation, root string) error {
	synctest.Wait() // whatever it was writing is written
	if err := os.Mkdir(root, 0o700); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dead.root, "containers"), filepath.Join(root, "containers")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := copySparse(filepath.Join(dead.root, "journal.db"), filepath.Join(root, "journal.db"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// copySparse copies a file without its holes, of which bbolt's grow many.
func copySparse(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for at := int64(0); ; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return out.Truncate(info.Size())
		}
		if err != nil {
			return fmt.Errorf("seek data: %w", err)
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("seek hole: %w", err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
}

// records are the names of all records in the journal.
func (i *incarnation) records() []string {
	var names []string
	i.w.must(i.journal.View(func(s *journal.Snapshot) error {
		for _, kind := range []string{"container", "name", "exec"} {
			if err := s.ForEach(kind, func(key string, _ []byte) error {
				names = append(names, kind+" "+key)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}))
	return names
}
