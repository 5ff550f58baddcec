package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/fifo"
)

// FIFO returns the Stdio whose streams are FIFOs (see fifo(7)) in the directory root/CONTAINER/PROCESS. The root
// must be an absolute path, else Create and Restore fail with InvalidArgument. It is made with mode 0711 when it is
// needed, and never removed. The Stdio is also a StreamRemover.
func FIFO(root string) Stdio { return &fifoStdio{root: root} }

type fifoStdio struct{ root string }

// dirMode lets the owner of a FIFO set open its FIFOs, and lists no directory.
const dirMode = 0o711

// tries is how often Create tries to make a directory. A try fails if the container's directory is removed at the
// same time, since another process of the container was the last one in it.
const tries = 10

func (f *fifoStdio) dir(c StreamsConfig) (string, error) {
	if !filepath.IsAbs(f.root) {
		return "", fmt.Errorf("stdio root %q is not absolute: %w", f.root, errdefs.ErrInvalidArgument)
	}
	if err := CheckID(c.ContainerID); err != nil {
		return "", err
	}
	if err := CheckID(c.ProcessID); err != nil {
		return "", err
	}
	return filepath.Join(f.root, c.ContainerID, c.ProcessID), nil
}

func (f *fifoStdio) Create(ctx context.Context, c StreamsConfig) (Streams, error) {
	dir, err := f.dir(c)
	if err != nil || c.Detached {
		return &fifoStreams{}, err
	}
	config := fifo.Config{UID: int(c.UID), GID: int(c.GID), Stdin: c.Stdin, Stdout: true, Stderr: !c.Terminal}
	var set *fifo.Set
	for range tries {
		if err = makeParents(dir); err != nil {
			return nil, err
		}
		set, err = fifo.Create(dir, config)
		switch {
		case errdefs.IsNotFound(err):
			continue
		case errdefs.IsAlreadyExists(err):
			err = removeStale(dir)
		case err == nil:
			return f.open(ctx, set, c.Keep)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = fmt.Errorf("stdio directory %q could not be made in %d tries: %w", dir, tries, errdefs.ErrAlreadyExists)
	}
	_ = os.Remove(filepath.Dir(dir)) // fails if another process uses it, or it is gone
	return nil, err
}

func makeParents(dir string) error {
	container := filepath.Dir(dir)
	if err := os.MkdirAll(filepath.Dir(container), dirMode); err != nil {
		return fmt.Errorf("cannot make the stdio root: %w", err)
	}
	if err := os.Mkdir(container, dirMode); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot make the stdio directory: %w", err)
	}
	return nil
}

func removeStale(dir string) error {
	set, err := fifo.Load(dir)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return set.Remove()
}

// Leftovers returns the ids of all processes that have FIFOs, by container id, for an engine that starts after
// another one was killed. It removes the directories of containers without FIFOs. Create must not be called
// meanwhile.
func (f *fifoStdio) Leftovers() (map[string][]string, error) {
	containers, err := os.ReadDir(f.root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the stdio directories: %w", err)
	}
	found := map[string][]string{}
	for _, c := range containers {
		processes, err := os.ReadDir(filepath.Join(f.root, c.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // the streams of its last process were just closed
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list the stdio directories: %w", err)
		}
		for _, p := range processes {
			found[c.Name()] = append(found[c.Name()], p.Name())
		}
		if len(processes) == 0 {
			if err := os.Remove(filepath.Join(f.root, c.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("cannot remove a stdio directory: %w", err)
			}
		}
	}
	return found, nil
}

// RemoveStreams removes the container's directory and the FIFO sets in it. Anything else in the directory stays,
// and is an error.
func (f *fifoStdio) RemoveStreams(_ context.Context, containerID string) error {
	if err := CheckID(containerID); err != nil {
		return err
	}
	container := filepath.Join(f.root, containerID)
	sets, err := os.ReadDir(container)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look for streams: %w", err)
	}
	var errs []error
	for _, set := range sets {
		errs = append(errs, removeStale(filepath.Join(container, set.Name())))
	}
	if err := os.Remove(container); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("cannot remove the stdio directory: %w", err))
	}
	return errors.Join(errs...)
}

func (f *fifoStdio) Restore(ctx context.Context, c StreamsConfig) (Streams, error) {
	dir, err := f.dir(c)
	if err != nil || c.Detached {
		return &fifoStreams{}, err
	}
	set, err := fifo.Load(dir)
	if err != nil {
		return nil, err
	}
	s, err := f.openEnds(ctx, set)
	s.keep = c.Keep
	if err != nil {
		return nil, errors.Join(err, s.Detach())
	}
	if s.stdin != nil && c.StdinClosed {
		err = s.stdin.Close()
	}
	return s, err
}

// open opens the engine's ends of a new set, or removes it again.
func (f *fifoStdio) open(ctx context.Context, set *fifo.Set, keep bool) (Streams, error) {
	s, err := f.openEnds(ctx, set)
	s.keep = keep
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openEnds opens the engine's ends of all FIFOs in the set. The opening of stdin waits for the process, in a
// goroutine. The end of ctx doesn't end that goroutine; Close and Detach do.
func (f *fifoStdio) openEnds(ctx context.Context, set *fifo.Set) (*fifoStreams, error) {
	s := &fifoStreams{set: set, paths: StdioPaths(set.Paths())}
	var err error
	if s.paths.Stdout != "" {
		if s.stdout, err = set.OpenStdout(ctx); err != nil {
			return s, err
		}
	}
	if s.paths.Stderr != "" {
		if s.stderr, err = set.OpenStderr(ctx); err != nil {
			return s, err
		}
	}
	if s.paths.Stdin != "" {
		s.stdin, err = set.OpenStdin(context.WithoutCancel(ctx))
	}
	return s, err
}

// fifoStreams are the engine's ends of a FIFO set. All are nil for a detached process.
type fifoStreams struct {
	set            *fifo.Set
	keep           bool // Close doesn't remove the set
	paths          StdioPaths
	stdin          *fifo.Stdin
	stdout, stderr *fifo.Reader

	closing sync.WaitGroup // the call of closeIO

	mu    sync.Mutex
	ended bool // closing may not grow any more
}

func (s *fifoStreams) Paths() StdioPaths { return s.paths }

func (s *fifoStreams) Stdin() io.WriteCloser {
	if s.stdin == nil {
		return nil
	}
	return s.stdin
}

func (s *fifoStreams) Stdout() Output { return asOutput(s.stdout) }
func (s *fifoStreams) Stderr() Output { return asOutput(s.stderr) }

func asOutput(r *fifo.Reader) Output {
	if r == nil {
		return nil
	}
	return r
}

// ReleaseStdin permits stdin to be closed. closeIO has a goroutine of its own, since it may wait for a daemon that
// can't be reached.
func (s *fifoStreams) ReleaseStdin(closeIO func() error) {
	if s.stdin == nil {
		return
	}
	// closeIO reports its own errors. An error of closing a write end means nothing.
	_ = s.stdin.Release(func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.ended {
			s.closing.Go(func() { _ = closeIO() })
		}
		return nil
	})
}

func (s *fifoStreams) ExitKnown() {
	for _, r := range []*fifo.Reader{s.stdout, s.stderr} {
		if r != nil {
			r.ExitKnown()
		}
	}
}

func (s *fifoStreams) Detach() error {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	var errs []error
	if s.stdin != nil {
		errs = append(errs, ignoreBroken(s.stdin.Abort()))
	}
	for _, r := range []*fifo.Reader{s.stdout, s.stderr} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	s.closing.Wait()
	return errors.Join(errs...)
}

// ignoreBroken returns nil for the error of a write end that could not be opened because no process reads it.
func ignoreBroken(err error) error {
	if errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

func (s *fifoStreams) Close() error {
	err := s.Detach()
	if s.set == nil || s.keep {
		return err
	}
	err = errors.Join(err, s.set.Remove())
	_ = os.Remove(filepath.Dir(s.set.Dir())) // fails if another process uses it, or it is gone
	return err
}
