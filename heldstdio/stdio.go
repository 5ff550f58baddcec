package heldstdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Keeper holds the read ends of outputs, so that nothing is lost while the
// engine is away. A *keeper.Client is one.
type Keeper interface {
	Hold(ctx context.Context, key, name string, stream, raw *os.File, o keeper.HoldOptions) error
	Take(ctx context.Context, key, name string) (stream, raw *os.File, err error)
	Release(ctx context.Context, key, name string) error
	List(ctx context.Context) ([]keeper.Held, error)
}

// keeperTimeout bounds a call to the keeper, which answers at once.
const keeperTimeout = 10 * time.Second

// Process is a process whose outputs the keeper holds.
type Process interface {
	// Raw returns the raw file of an output, keeper.Stdout or keeper.Stderr: a regular file, open for reading and
	// writing without O_APPEND. The keeper gets a duplicate. The file stays the Process's.
	Raw(name string) (*os.File, error)
	// Created is called once the daemon has created the process, and when a running process is restored. An engine that
	// reads the output from here on, and not before, leaves out what an OCI runtime writes about a create that failed.
	Created()
	// Unread says whether there is output that the engine has not read to its end. Such streams are left to the next
	// engine when this one ends.
	Unread() bool
}

// Stdio makes streams of which the keeper has a hold: when the engine dies, the keeper goes on where the engine stood.
// All fields but Gone and Engine must be set.
type Stdio struct {
	// Inner makes the streams, such as libcontainerd.FIFO.
	Inner  libcontainerd.Stdio
	Keeper Keeper
	// Namespace is the first part of the keys at the keeper: NAMESPACE/CONTAINER/PROCESS.
	Namespace string
	// Find returns a process whose streams are made, or restored. It returns nil for a process whose outputs the keeper
	// shall not hold.
	Find func(containerID, processID string, restored bool) (Process, error)
	// Engine ends with the engine: it is the context of Client.Run. Streams with unread output are detached when it ends,
	// and not closed. nil never ends.
	Engine context.Context
	// Bound is the space in bytes that each raw file may take on its disk before the keeper leaves the stream alone, and
	// the process waits for the next engine. 0 is keeper.DefaultBound.
	Bound int64
	// Gone, if not nil, is called when a process is restored whose streams are gone, as after a reboot. Its further
	// output is lost.
	Gone func(containerID, processID string)

	mu   sync.Mutex
	left map[string][]string // by container, see leftovers; nil before the first call
}

// key names a process at the keeper.
func (s *Stdio) key(containerID, processID string) string {
	return s.Namespace + "/" + containerID + "/" + processID
}

// Create makes the streams of a process, and gives the keeper a hold of its outputs.
func (s *Stdio) Create(ctx context.Context, c libcontainerd.StreamsConfig) (_ libcontainerd.Streams, err error) {
	_, fifos := span.Start(ctx, "FIFOs")
	streams, err := s.Inner.Create(ctx, c)
	fifos.End(err)
	if err != nil {
		return nil, err
	}
	p, err := s.Find(c.ContainerID, c.ProcessID, false)
	if err != nil {
		return nil, errors.Join(err, streams.Close())
	}
	if p == nil {
		return streams, nil
	}
	ctx, keeping := span.Start(ctx, "keeper")
	defer func() { keeping.End(err) }()
	held := s.held(streams, c, p)
	// What an earlier process of the same name left would be in the way.
	if err := s.Keeper.Release(ctx, held.key, ""); err != nil {
		return nil, errors.Join(err, streams.Close())
	}
	if err := held.holdAll(ctx, keeper.Stdout, keeper.Stderr); err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, nil
}

// holdAll gives the keeper a hold of the outputs with these names.
func (h *heldStreams) holdAll(ctx context.Context, names ...string) error {
	outputs := map[string]libcontainerd.Output{keeper.Stdout: h.Stdout(), keeper.Stderr: h.Stderr()}
	for _, name := range names {
		if outputs[name] == nil {
			continue
		}
		if err := h.hold(ctx, name, outputs[name]); err != nil {
			return fmt.Errorf("keeper: hold %s of %s: %w", name, h.key, err)
		}
	}
	return nil
}

func (h *heldStreams) hold(ctx context.Context, name string, out libcontainerd.Output) error {
	conn, ok := out.(syscall.Conn)
	if !ok {
		return fmt.Errorf("%T has no descriptor: %w", out, errdefs.ErrNotImplemented)
	}
	stream, err := duplicate(conn)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	raw, err := h.process.Raw(name)
	if err != nil {
		return err
	}
	return h.keeper.Hold(ctx, h.key, name, stream, raw, keeper.HoldOptions{Taken: true, Bound: h.bound})
}

// duplicate returns another descriptor of what c has open.
func duplicate(c syscall.Conn) (*os.File, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dup error
	if err := rc.Control(func(p uintptr) { fd, dup = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dup != nil {
		return nil, dup
	}
	return os.NewFile(uintptr(fd), "stdio"), nil
}

// RemoveStreams removes the streams of all processes of a container, if Inner can, and releases those that the keeper
// has held since an earlier engine. An earlier engine may have died in the middle of a start, and left streams that no
// record names.
func (s *Stdio) RemoveStreams(ctx context.Context, containerID string) error {
	var errs []error
	if r, ok := s.Inner.(libcontainerd.StreamRemover); ok {
		errs = append(errs, r.RemoveStreams(ctx, containerID))
	}
	keys, err := s.leftovers(ctx, containerID)
	errs = append(errs, err)
	for _, key := range keys {
		errs = append(errs, s.Keeper.Release(ctx, key, ""))
	}
	return errors.Join(errs...)
}

// leftovers returns the keys of a container that the keeper had when this was first called. It returns them once.
func (s *Stdio) leftovers(ctx context.Context, containerID string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == nil {
		held, err := s.Keeper.List(ctx)
		if err != nil {
			return nil, fmt.Errorf("list what the keeper holds: %w", err)
		}
		s.left = map[string][]string{}
		for _, h := range held {
			if parts := strings.Split(h.Key, "/"); len(parts) == 3 && parts[0] == s.Namespace {
				s.left[parts[1]] = append(s.left[parts[1]], h.Key)
			}
		}
	}
	keys := s.left[containerID]
	delete(s.left, containerID)
	return keys, nil
}

// Restore takes the streams of a living process back from the keeper, which has
// moved their output meanwhile.
func (s *Stdio) Restore(ctx context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	return s.Retake(ctx, c, func() {
		if s.Gone != nil {
			s.Gone(c.ContainerID, c.ProcessID)
		}
	})
}

// Retake is Restore that calls gone, in place of s.Gone, if there are no streams any more. Raw files may be there.
func (s *Stdio) Retake(ctx context.Context, c libcontainerd.StreamsConfig, gone func()) (libcontainerd.Streams, error) {
	key := s.key(c.ContainerID, c.ProcessID)
	var missing []string
	for _, name := range []string{keeper.Stdout, keeper.Stderr} {
		if name == keeper.Stderr && c.Terminal {
			continue
		}
		stream, raw, err := s.Keeper.Take(ctx, key, name)
		if errdefs.IsNotFound(err) { // another keeper: the old one died
			missing = append(missing, name)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("keeper: take %s of %s: %w", name, key, err)
		}
		for _, file := range []*os.File{stream, raw} {
			if file != nil {
				_ = file.Close() // the inner Stdio opens its own
			}
		}
	}
	streams, err := s.Inner.Restore(ctx, c)
	if errdefs.IsNotFound(err) {
		gone()
		c.Detached = true
		streams, err = s.Inner.Restore(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	p, err := s.Find(c.ContainerID, c.ProcessID, true)
	if err != nil {
		return nil, errors.Join(err, streams.Detach())
	}
	if p == nil {
		return streams, nil
	}
	held := s.held(streams, c, p)
	// A new keeper has nothing of what the one before it held.
	if err := held.holdAll(ctx, missing...); err != nil {
		return nil, errors.Join(err, held.Detach())
	}
	return held, nil
}

// heldStreams are streams that the keeper lets go of when they are closed.
type heldStreams struct {
	libcontainerd.Streams
	engine  context.Context // ends with the engine
	keeper  Keeper
	key     string
	process Process
	bound   int64 // of a raw file
}

func (s *Stdio) held(streams libcontainerd.Streams, c libcontainerd.StreamsConfig, p Process) *heldStreams {
	engine := s.Engine
	if engine == nil {
		engine = context.Background()
	}
	return &heldStreams{Streams: streams, engine: engine, keeper: s.Keeper, key: s.key(c.ContainerID, c.ProcessID), process: p, bound: s.Bound}
}

// ReleaseStdin tells that the process is there.
func (h *heldStreams) ReleaseStdin(closeIO func() error) {
	h.process.Created()
	h.Streams.ReleaseStdin(closeIO)
}

// Close ends the streams. Those that an engine which goes down hasn't read to
// their end are left to the next one.
func (h *heldStreams) Close() error {
	if h.engine.Err() != nil && h.process.Unread() {
		return h.Detach()
	}
	ctx, cancel := context.WithTimeout(context.Background(), keeperTimeout)
	defer cancel()
	// The keeper's hold goes last: by it the next engine finds what is left.
	return errors.Join(h.Streams.Close(), h.keeper.Release(ctx, h.key, ""))
}

// Discard removes the streams that an earlier engine left of a process that has
// ended.
func (s *Stdio) Discard(ctx context.Context, containerID, processID string) error {
	streams, err := s.Inner.Restore(ctx, libcontainerd.StreamsConfig{ContainerID: containerID, ProcessID: processID})
	if err == nil {
		err = streams.Close()
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove streams of process %s: %w", processID, err)
	}
	return s.Keeper.Release(ctx, s.key(containerID, processID), "")
}
