package libcontainerd

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
)

// StdioConfig says which streams a process has. Its JSON form may be stored.
type StdioConfig struct {
	// Terminal joins stdout and stderr into one stream. It must be the same as Terminal in the process's spec.
	Terminal bool `json:"terminal,omitempty"`
	// Stdin asks for a standard input; without it the process reads /dev/null.
	Stdin bool `json:"stdin,omitempty"`
	// Detached gives the process /dev/null for all three streams. No client can attach to it, then or later.
	Detached bool `json:"detached,omitempty"`
	// UID and GID are the owner of the FIFOs. 0 and 0 stand for those of CreateOptions.
	UID uint32 `json:"uid,omitempty"`
	GID uint32 `json:"gid,omitempty"`
}

// matches returns InvalidArgument if the terminal in the process's spec, unless it is nil, differs.
func (c StdioConfig) matches(terminal *bool) error {
	if terminal == nil || c.Terminal == *terminal {
		return nil
	}
	return fmt.Errorf("the spec has terminal %v, and StdioConfig has %v: %w", *terminal, c.Terminal,
		errdefs.ErrInvalidArgument)
}

// StreamsConfig is what the client asks of a Stdio: the streams of one process.
type StreamsConfig struct {
	StdioConfig
	ContainerID string
	ProcessID   string
	// StdinClosed, for Restore, says that stdin was closed before the restart: Restore closes it again.
	StdinClosed bool
	// Keep has Streams.Close leave the FIFOs in the filesystem, for debugging.
	Keep bool
}

// Stdio makes the streams of processes. [FIFO] returns the Stdio for real processes; package libcontainerdtest has
// one in memory. An engine may wrap either.
type Stdio interface {
	// Create makes the streams of a process, before the process is created. It replaces streams that an earlier
	// process with the same ids left.
	Create(ctx context.Context, c StreamsConfig) (Streams, error)
	// Restore opens the streams of a process that runs, after a restart of the engine.
	Restore(ctx context.Context, c StreamsConfig) (Streams, error)
}

// StreamRemover is a Stdio that can remove all streams of a container. The client calls it when a container is
// deleted: a client that died may have left streams of processes that the next client doesn't know.
type StreamRemover interface {
	// RemoveStreams removes the streams of all processes of a container, which are closed by then. It returns nil
	// if there are none.
	RemoveStreams(ctx context.Context, containerID string) error
}

// Streams are the engine's ends of a process's stdio. The client owns them: it calls Close or Detach. A backend
// reads and writes the streams. Methods may be called from any goroutine.
type Streams interface {
	// Paths are the FIFOs for the daemon.
	Paths() StdioPaths
	// Stdin is nil if StdioConfig asked for none. Its Close returns at once; the stream is closed when ReleaseStdin
	// has been called too, and the daemon's side has opened it.
	Stdin() io.WriteCloser
	// Stdout and Stderr are nil if the process has no such stream. A Read or Splice returns io.EOF when the output has
	// ended for good, and os.ErrClosed after Detach: the next client goes on with the output.
	Stdout() Output
	Stderr() Output
	// ReleaseStdin permits stdin to be closed: the daemon's create (for an exec: start) has returned. containerd's
	// shims may open stdin after that, and an end of stdin that comes before is lost: a Stdio waits for the opening.
	// When stdin is closed, closeIO is called once, in a goroutine that Close and Detach wait for.
	ReleaseStdin(closeIO func() error)
	// ExitKnown says that the process has exited. Each output then ends after the bytes that are in it now.
	ExitKnown()
	// Detach closes the engine's descriptors, and leaves the FIFOs in the filesystem for a later Restore. The
	// process doesn't notice. A client that shuts down detaches the streams of running processes.
	Detach() error
	// Close closes all streams, and removes the FIFOs unless StreamsConfig.Keep was set. It may be called again, and
	// after Detach.
	Close() error
}

// Output is the engine's end of a process's stdout or stderr. Those of [FIFO] are also a syscall.Conn: the descriptor
// is a FIFO that is open for reading and writing, and not blocking. Read and Splice wait for bytes. They return io.EOF
// only after ExitKnown, when the bytes of that moment have been read.
type Output interface {
	io.ReadCloser
	// Splice moves up to max bytes to the file dst at offset off, with splice(2): the bytes aren't copied through
	// this process. It waits for the first byte, and returns how many were moved.
	Splice(dst *os.File, off int64, max int) (int64, error)
}
