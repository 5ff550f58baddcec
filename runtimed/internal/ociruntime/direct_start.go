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
//
// An init process that waits for a reader dies of a reader that goes away before its byte is written. So hold gets the
// FIFO, opened with O_PATH, before this process opens it: whom it gives the FIFO to reads it too, and outlives this
// process. FinishStart finishes a start that was cut off.
func (r Runtime) StartDirectly(ctx context.Context, id string, alive func() bool, hold func(*os.File)) error {
	path := r.execFIFO(id)
	fd, err := open(path, unix.O_WRONLY)
	if errors.Is(err, unix.ENXIO) { // nobody reads
		return startWriter(ctx, path, alive, hold)
	}
	if err != nil {
		return ErrNotStarted
	}
	defer unix.Close(fd)
	// In this order: an init process whose FIFO is gone, and has no byte, would wait for ever.
	if _, err := unix.Write(fd, []byte{0}); err != nil {
		return fmt.Errorf("the container's init process doesn't take its start: %w: %w", err, errdefs.ErrUnknown)
	}
	return os.Remove(path)
}

// execFIFO is the path of a container's FIFO; of no file where there is something else.
func (r Runtime) execFIFO(id string) string {
	path := filepath.Join(r.Root, id, execFIFO)
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		return ""
	}
	return path
}

// startWriter starts an init process that waits for a reader, and reads its byte. It keeps the FIFO open until then:
// the init process would die of a reader that goes away.
func startWriter(ctx context.Context, path string, alive func() bool, hold func(*os.File)) error {
	fifo, err := os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return ErrNotStarted
	}
	hold(fifo)
	if err := fifo.Close(); err != nil {
		return err
	}
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return ErrNotStarted
	}
	defer unix.Close(fd)
	for {
		lives := alive() // first: what it said before its end counts
		said, _, err := awaitByte(fd)
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

// FinishStart finishes a StartDirectly that was cut off, and tells whether there was one: the container's init process
// has gone on then, or goes on. alive reports whether that process is alive. held is the reader of which StartDirectly
// had given the FIFO away; nil where there is none.
func (r Runtime) FinishStart(ctx context.Context, id string, alive func() bool, held *os.File) (bool, error) {
	path := r.execFIFO(id)
	if path == "" {
		return false, nil
	}
	begun, err := r.startBegun(ctx, path, alive, held)
	if err != nil || !begun {
		return false, err
	}
	return true, os.Remove(path)
}

func (r Runtime) startBegun(ctx context.Context, path string, alive func() bool, held *os.File) (bool, error) {
	if held != nil {
		return awaitWriter(ctx, int(held.Fd()), alive)
	}
	if filepath.Base(r.Path) != "crun" {
		return false, nil
	}
	fd, err := open(path, unix.O_WRONLY)
	if errors.Is(err, unix.ENXIO) { // crun's init process has read from its create to its start
		return alive(), nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	unread, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return unread > 0, err
}

// awaitWriter waits until an init process has written to a reader, whether the byte was read since or not.
func awaitWriter(ctx context.Context, fd int, alive func() bool) (bool, error) {
	for {
		lives := alive()
		said, closed, err := awaitByte(fd)
		switch {
		case err != nil, said:
			return said, err
		case !lives:
			return false, nil
		case closed:
			return true, nil // an earlier reader took the byte
		case ctx.Err() != nil:
			return false, fmt.Errorf("the container's init process says nothing: %w", ctx.Err())
		}
	}
}

// lookEvery is how long a container's init process may say nothing before it is looked whether it lives.
const lookEvery = 100 * time.Millisecond

// awaitByte tells whether a byte came before lookEvery was over; else whether the writer has closed its end.
func awaitByte(fd int) (said, closed bool, err error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(lookEvery.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, false, err
	}
	if n <= 0 || fds[0].Revents&unix.POLLIN == 0 {
		return false, n > 0 && fds[0].Revents&unix.POLLHUP != 0, nil
	}
	var b [1]byte
	n, err = unix.Read(fd, b[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false, false, nil
	}
	return n == 1, false, err
}

func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
