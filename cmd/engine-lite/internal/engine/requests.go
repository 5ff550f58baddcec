package engine

import (
	"io"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/rootfs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// ListOptions narrows a list of containers.
type ListOptions struct {
	// All includes the containers that don't run.
	All bool
	// Limit is the number of newest containers to show; 0 is no limit. A limit implies All.
	Limit int
	// Size has the files that each container has written measured.
	Size    bool
	Filters filters.Filters
}

// CreateOptions says how a container is made, beside its request.
type CreateOptions struct {
	// Platform is what the image has to be for, such as linux/amd64; empty for any.
	Platform string
	// ReadOnlyNonRecursive leaves the mounts below a read-only bind writable, unless the request says otherwise.
	ReadOnlyNonRecursive bool
}

// StopOptions says how a container is stopped.
type StopOptions struct {
	// Signal is a name or a number; empty for the container's own stop signal.
	Signal string
	// Timeout is in seconds: nil for the container's own, negative for ever.
	Timeout *int
}

// RemoveOptions says how a container is removed.
type RemoveOptions struct {
	Force   bool
	Volumes bool
}

// CommitOptions says what image is made of a container.
type CommitOptions = rootfs.CommitOptions

// Streams are a client's ends of an attached process.
type Streams = stdio.ClientStreams

// Socket is an output to a bare socket.
type Socket = logs.Socket

// AttachOptions says what an attached client wants.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	// Logs replays what was logged before.
	Logs bool
	// Stream goes on with what comes.
	Stream bool
	// DetachKeys ends the attachment and leaves the process alone; empty for
	// the engine's default, ctrl-p,ctrl-q. Meaningful with a terminal only.
	DetachKeys string
	// Open takes the connection over, once nothing can be refused any more. It
	// gets whether the process has a terminal (a raw stream).
	Open func(terminal bool) (Streams, error)
}

// LogsOptions says which part of a log a client wants.
type LogsOptions struct {
	Stdout, Stderr bool
	Follow         bool
	Timestamps     bool
	Details        bool
	// Tail is the number of lines from the end; negative for all.
	Tail         int
	Since, Until time.Time
	// Open is called once, before the first line, and gets whether the
	// container has a terminal.
	Open func(terminal bool) (stdout, stderr io.Writer, err error)
}
