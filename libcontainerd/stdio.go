package libcontainerd

import (
	"context"
	"io"
	"os"
)

// StdioConfig names the streams of one process.
type StdioConfig struct {
	ContainerID string
	ProcessID   string
	// Terminal joins stdout and stderr into one stream.
	Terminal bool
	// Stdin asks for a standard input; without it the process reads /dev/null.
	Stdin bool
	// Detached asks for no stream at all: nobody can ever attach, and the
	// process has /dev/null three times.
	Detached bool
	// StdinClosed restores the wish to close stdin that was made before a
	// restart.
	StdinClosed bool
	// Keep has Close leave what is in the filesystem, for debugging. The client
	// fills it in.
	Keep     bool
	UID, GID int
}

// Stdio makes the streams of processes. The package's own is FIFO; an engine
// may decorate it, and tests have one in memory.
type Stdio interface {
	// Create makes the streams of a process that is about to be created, and
	// removes stale ones of the same name.
	Create(ctx context.Context, c StdioConfig) (Streams, error)
	// Restore picks the streams of a living process up after a restart.
	Restore(ctx context.Context, c StdioConfig) (Streams, error)
}

// StreamRemover is a Stdio that can remove the streams of all processes of a
// container which nobody has open any more: a client that died may have left
// some of processes that the next one was never told of. It is asked when the
// container is deleted.
type StreamRemover interface {
	// RemoveStreams is nil where there are none.
	RemoveStreams(ctx context.Context, containerID string) error
}

// Streams are the engine's ends of a process's stdio. Each method may be
// called from any goroutine.
type Streams interface {
	Paths() StdioPaths
	// Stdin is nil where none was asked for. Its Close is a wish: the stream
	// is closed once ReleaseStdin has been called too.
	Stdin() io.WriteCloser
	// Stdout and Stderr are nil where there is none.
	Stdout() Output
	Stderr() Output
	// ReleaseStdin says that the process can take a close of its stdin now:
	// create (for an exec: start) has returned. closeIO is called once, after
	// the wish to close, from a goroutine that Close joins.
	ReleaseStdin(closeIO func() error)
	// ExitKnown says that the process has ended: an output ends when what it
	// held at that moment has been read.
	ExitKnown()
	// Detach lets the streams go without an end for the process: the engine's
	// own descriptors are closed, what is in the filesystem stays for the next
	// Restore. It is what a client that shuts down does with living processes.
	Detach() error
	// Close ends all streams and removes what they left in the filesystem,
	// unless StdioConfig.Keep was set.
	// It can be repeated, and follow a Detach.
	Close() error
}

// Output is a readable stream of a process. Read and Splice return io.EOF only
// after the exit is known and the rest has been read.
type Output interface {
	io.ReadCloser
	// Splice moves at most max bytes to the file dst at offset off without
	// copying them through this process, and returns how many. It waits for
	// the first byte.
	Splice(dst *os.File, off int64, max int) (int64, error)
}
