package stdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Keeper holds the read ends of outputs, so that nothing is lost while the
// engine is away. *keeper.Client is one.
type Keeper interface {
	Hold(ctx context.Context, key, name string, stream, raw *os.File, o keeper.HoldOptions) error
	Take(ctx context.Context, key, name string) (stream, raw *os.File, err error)
	Release(ctx context.Context, key, name string) error
	List(ctx context.Context) ([]keeper.Held, error)
}

// keeperTimeout bounds a call to the keeper, which answers at once.
const keeperTimeout = 10 * time.Second

// Holder makes streams of which the keeper has a hold: when the engine dies, it
// goes on where the engine stood.
type Holder struct {
	Inner     libcontainerd.Stdio
	Keeper    Keeper
	Engine    context.Context // ends with the engine
	Namespace string
	// Find returns the IO of a process; nil where the keeper does not hold the outputs of the process.
	Find func(containerID, processID string) (*IO, error)
}

// key names a process at the keeper.
func (s *Holder) key(containerID, processID string) string {
	return s.Namespace + "/" + containerID + "/" + processID
}

// Create makes the streams of a process and gives the keeper a hold of its
// outputs, but for a probe's, which nobody wants to know after the engine's end.
func (s *Holder) Create(ctx context.Context, c libcontainerd.StreamsConfig) (_ libcontainerd.Streams, err error) {
	_, fifos := span.Start(ctx, "FIFOs")
	streams, err := s.Inner.Create(ctx, c)
	fifos.End(err)
	if err != nil {
		return nil, err
	}
	l, err := s.Find(c.ContainerID, c.ProcessID)
	if err != nil {
		return nil, errors.Join(err, streams.Close())
	}
	if l == nil {
		return streams, nil
	}
	ctx, keeping := span.Start(ctx, "keeper")
	defer func() { keeping.End(err) }()
	held := s.held(streams, c, l)
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
		return classed.Errorf(errdefs.ErrNotImplemented, "%T has no descriptor", out)
	}
	stream, err := duplicate(conn)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	raw, err := h.IO.Output.Raw(name)
	if err != nil {
		return err
	}
	return h.keeper.Hold(ctx, h.key, name, stream, raw, keeper.HoldOptions{Taken: true})
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

// RemoveStreams is the inner one's.
func (s *Holder) RemoveStreams(ctx context.Context, containerID string) error {
	if r, ok := s.Inner.(libcontainerd.StreamRemover); ok {
		return r.RemoveStreams(ctx, containerID)
	}
	return nil
}

// Restore takes the streams of a living process back from the keeper, which has
// moved their output meanwhile.
func (s *Holder) Restore(ctx context.Context, c libcontainerd.StreamsConfig) (libcontainerd.Streams, error) {
	return s.Retake(ctx, c, func() {
		log.WithFields(log.Fields{"container": c.ContainerID, "process": c.ProcessID}).Warn(
			"the streams of a process are gone, as after a reboot; further output of the process is lost")
	})
}

// Retake calls gone where there are no streams any more; raw files may be there.
func (s *Holder) Retake(ctx context.Context, c libcontainerd.StreamsConfig, gone func()) (libcontainerd.Streams, error) {
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
	l, err := s.Find(c.ContainerID, c.ProcessID)
	if err != nil {
		return nil, errors.Join(err, streams.Detach())
	}
	if l == nil {
		return streams, nil
	}
	held := s.held(streams, c, l)
	// A new keeper has nothing of what the one before it held.
	if err := held.holdAll(ctx, missing...); err != nil {
		return nil, errors.Join(err, held.Detach())
	}
	return held, nil
}

// heldStreams are streams that the keeper lets go of when they are closed.
type heldStreams struct {
	libcontainerd.Streams
	engine context.Context // ends with the engine
	keeper Keeper
	key    string
	IO     *IO
}

func (s *Holder) held(streams libcontainerd.Streams, c libcontainerd.StreamsConfig, l *IO) *heldStreams {
	return &heldStreams{Streams: streams, engine: s.Engine, keeper: s.Keeper, key: s.key(c.ContainerID, c.ProcessID), IO: l}
}

// ReleaseStdin tells that the process is there. Only now its output is read:
// what came before is the OCI runtime's own complaint about a failed create,
// which reaches the caller as an error.
func (h *heldStreams) ReleaseStdin(closeIO func() error) {
	h.IO.Begin()
	h.Streams.ReleaseStdin(closeIO)
}

// Close ends the streams. Those that an engine which goes down hasn't read to
// their end are left to the next one.
func (h *heldStreams) Close() error {
	if h.engine.Err() != nil && h.IO.unread() {
		return h.Detach()
	}
	ctx, cancel := context.WithTimeout(context.Background(), keeperTimeout)
	defer cancel()
	// The keeper's hold goes last: by it the next engine finds what is left.
	return errors.Join(h.Streams.Close(), h.keeper.Release(ctx, h.key, ""))
}

// Discard removes the streams that an earlier engine left of a process that has
// ended.
func (s *Holder) Discard(ctx context.Context, containerID, processID string) error {
	streams, err := s.Inner.Restore(ctx, libcontainerd.StreamsConfig{ContainerID: containerID, ProcessID: processID})
	if err == nil {
		err = streams.Close()
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove streams of process %s: %w", processID, err)
	}
	return s.Keeper.Release(ctx, s.key(containerID, processID), "")
}
