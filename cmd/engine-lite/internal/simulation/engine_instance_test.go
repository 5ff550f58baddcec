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
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources/resourcestest"
	"github.com/engine-lite/engine-lite/journal"
)

// engineInstance is one engine, from its opening to its end, in a root directory of its
// own.
//
// A killed engine stops dead: each of its goroutines blocks at the next tap that it calls,
// so that it changes nothing any more. When the run is checked, the taps return errors to
// these goroutines, so that they can be joined.
type engineInstance struct {
	w       *world
	root    string
	engine  *engine.Engine
	journal *journal.Journal
	// attachContext ends when the engine's end begins, for calls that would never return. ctx
	// ends when a killed engine's goroutines are unblocked.
	attachContext, ctx  context.Context
	endAttached, cancel context.CancelFunc
	calls               sync.WaitGroup
	opened              chan error // takes one
	closing             bool       // by close; if the engine is killed meanwhile, close returns when unblocked

	killed    atomic.Bool
	crashed   chan struct{} // closed when it was killed
	ending    chan struct{} // closed when it was killed or when close has begun
	beginEnd  func()        // closes ending
	unblocked chan struct{}

	mu      sync.Mutex
	streams map[*streamsTap]bool
}

func (w *world) newEngineInstance(root string) *engineInstance {
	i := &engineInstance{
		w: w, root: root, opened: make(chan error, 1), ending: make(chan struct{}), crashed: make(chan struct{}),
		unblocked: make(chan struct{}),
		streams:   map[*streamsTap]bool{},
	}
	i.beginEnd = sync.OnceFunc(func() { close(i.ending) })
	i.ctx, i.cancel = context.WithCancel(context.Background())
	i.attachContext, i.endAttached = context.WithCancel(i.ctx)
	return i
}

// isEnding is true if the engine was killed or its close has begun.
func (i *engineInstance) isEnding() bool {
	select {
	case <-i.ending:
		return true
	default:
		return false
	}
}

func (i *engineInstance) isKilled() bool { return i.killed.Load() }

// block is where the goroutines of a killed engine wait.
func (i *engineInstance) block() error {
	<-i.unblocked
	return errCrashed
}

// crash kills the engine. It is called on one of the engine's goroutines, which blocks.
func (i *engineInstance) crash() error {
	if i.killed.CompareAndSwap(false, true) {
		i.beginEnd()
		i.mu.Lock()
		for s := range i.streams {
			s.dropped()
		}
		i.mu.Unlock()
		close(i.crashed)
	}
	return i.block()
}

func (i *engineInstance) addStreams(s *streamsTap) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.streams[s] = true
}

func (i *engineInstance) removeStreams(s *streamsTap) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.streams, s)
}

// open opens the engine. The engine may be killed meanwhile.
func (i *engineInstance) open() error {
	w := i.w
	i.calls.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		e, err := engine.Open(ctx, engine.Options{
			Root: i.root, Version: "simulated", Runtime: "fake", OpenJournal: i.openJournal,
			OpenImages: func(context.Context, string) (engine.Images, error) { return imageStub{inc: i}, nil },
			Resources:  []resources.Provider{portsTap{&resourcestest.Network{Kernel: w.ports}, i}},
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
	case <-i.crashed:
		return errCrashed
	}
}

// do makes a user's call. If the engine is killed or ends before its answer, do returns
// errCrashed.
func do[T any](i *engineInstance, fn func(ctx context.Context, e *engine.Engine) (T, error)) (T, error) {
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
		if i.isKilled() {
			return none, errCrashed
		}
		return a.value, a.err
	case <-i.ending:
		return none, errCrashed
	}
}

// close closes an engine. Its users have gone, and their calls are finished first. The
// engine may be killed meanwhile.
func (i *engineInstance) close() error {
	i.beginEnd()
	i.endAttached()
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
		case <-i.unblocked: // a call may wait for the engine's end
		}
		closed <- i.engine.Close()
	}()
	select {
	case err := <-closed:
		i.cancel()
		return err
	case <-i.crashed:
		return errCrashed
	}
}

// joinAll joins the goroutines of a killed engine.
func (i *engineInstance) joinAll() {
	i.cancel()
	close(i.unblocked)
	if err := <-i.opened; err == nil && !i.closing {
		_ = i.engine.Close() // always an error: the engine can't do anything
	}
	i.calls.Wait()
}

// copyRoot makes the root directory of the next engine from what a killed engine has left:
// the journal as it is on the disk now, and the files.
func (w *world) copyRoot(killed *engineInstance, root string) error {
	synctest.Wait() // writes under way are finished
	if err := os.Mkdir(root, 0o700); err != nil {
		return err
	}
	for _, dir := range []string{"containers", "volumes"} {
		err := os.Rename(filepath.Join(killed.root, dir), filepath.Join(root, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	err := copySparse(filepath.Join(killed.root, "journal.db"), filepath.Join(root, "journal.db"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// copySparse copies a file without its holes. The files of bbolt get many holes.
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
func (i *engineInstance) records() []string {
	var names []string
	i.w.must(i.journal.View(func(s *journal.Snapshot) error {
		for _, kind := range []string{"container", "name", "exec", "volume", "volume-removal"} {
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
