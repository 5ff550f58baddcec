package ociruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// At a start, runc and crun only let the init process go on (apart from hooks and the notify socket of systemd). The
// init process waits at a FIFO in the container's state: that of runc writes a byte for a reader, that of crun reads
// a byte. Then the FIFO is removed, and by that runc and crun tell a running container from a created one. This is
// the same from runc 1.1 to 1.5 (libcontainer/container_linux.go, exec) and from crun 1.8 to 1.20
// (src/libcrun/status.c, libcrun_status_write_exec_fifo). It is done here without starting a process.
const execFIFO = "exec.fifo"

// ErrNotStarted says that the container cannot be started directly, and that nothing was done: the OCI runtime has to
// start it.
var ErrNotStarted = fmt.Errorf("the container waits in no way that is known: %w", errdefs.ErrNotImplemented)

// CanStartDirectly reports whether a container can be started without its OCI runtime. That is so for runc and crun,
// not for another program, which may do more.
func (r Runtime) CanStartDirectly(spec *specs.Spec) bool {
	return r.isPlain() && spec.Hooks == nil && os.Getenv("NOTIFY_SOCKET") == ""
}

// isPlain tells whether the runtime is runc or crun itself, of which it is known what they do.
func (r Runtime) isPlain() bool {
	return slices.Contains([]string{"runc", "crun"}, filepath.Base(r.Path)) && len(r.Args) == 0
}

// StartDirectly starts a created container. alive reports whether its init process is alive. With ErrNotStarted the
// OCI runtime has to do it. After any other error it is not known whether the container runs, as after the death of
// an OCI runtime.
func (r Runtime) StartDirectly(ctx context.Context, id string, alive func() bool) error {
	path := filepath.Join(r.Root, id, execFIFO)
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeNamedPipe {
		return ErrNotStarted
	}
	fd, err := open(path, unix.O_WRONLY)
	if errors.Is(err, unix.ENXIO) { // nobody reads
		return startWriter(ctx, path, alive)
	}
	if err != nil {
		return ErrNotStarted
	}
	defer unix.Close(fd)
	if err := os.Remove(path); err != nil {
		return ErrNotStarted
	}
	if _, err := unix.Write(fd, []byte{0}); err != nil {
		return fmt.Errorf("the container's init process doesn't take its start: %w: %w", err, errdefs.ErrUnknown)
	}
	return nil
}

// startWriter starts an init process that waits for a reader, and reads its byte. It keeps the FIFO open until then:
// the init process would die of a reader that goes away.
func startWriter(ctx context.Context, path string, alive func() bool) error {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return ErrNotStarted
	}
	defer unix.Close(fd)
	for {
		lives := alive() // first: what it said before its end counts
		said, err := awaitByte(fd)
		switch {
		case err != nil:
			return err
		case said:
			return os.Remove(path)
		case ctx.Err() != nil:
			return fmt.Errorf("the container's init process says nothing: %w", ctx.Err())
		case !lives:
			return ErrNotStarted // the OCI runtime has words for that
		}
	}
}

// lookEvery is how long a container's init process may say nothing before it is looked whether it lives.
const lookEvery = 100 * time.Millisecond

// awaitByte tells whether a byte came before lookEvery was over.
func awaitByte(fd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(lookEvery.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, err
	}
	if n <= 0 || fds[0].Revents&unix.POLLIN == 0 {
		return false, nil
	}
	var b [1]byte
	n, err = unix.Read(fd, b[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n == 1, err
}

func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
