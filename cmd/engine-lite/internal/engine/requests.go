package engine

import (
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
)

// Filters are the values asked for, by filter name. An object passes a name
// where it matches one of its values, and passes all where it passes each name.
type Filters map[string][]string

// ListOptions narrows a list of containers.
type ListOptions struct {
	// All includes the containers that don't run.
	All bool
	// Limit is the number of newest containers to show; 0 is no limit. A limit implies All.
	Limit   int
	Size    bool
	Filters Filters
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

// Streams are a client's ends of an attached process. A nil stream is not
// attached. Without a terminal, Stdout and Stderr are already told apart by the
// caller. To outputs that are Sockets bytes may be spliced past Write.
type Streams struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

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
	// is told whether the process has a terminal (a raw stream).
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
	// Open is called once, before the first line, and is told whether the
	// container has a terminal.
	Open func(terminal bool) (stdout, stderr io.Writer, err error)
}

// ExecStartOptions says how an exec is started.
type ExecStartOptions struct {
	Detach bool
	// ConsoleSize is height and width in characters.
	ConsoleSize *[2]uint
	// Open takes the connection over; not called where Detach is set.
	Open func(terminal bool) (Streams, error)
}

// EventsOptions says which events a client wants.
type EventsOptions struct {
	// Since and Until are times. With neither it begins with what comes, with Until
	// alone at the beginning.
	Since, Until time.Time
	// After begins with the event after that number, in place of Since; nil
	// where no number was given.
	After *uint64
	// Journal is the journal that After belongs to; empty where the client
	// doesn't say.
	Journal string
	Filters Filters
	// Begin is called once, before the first event, when it is known that the
	// events that were asked for can be had. nil is allowed, as it is for Omit.
	Begin func(EventsPosition)
	// Omit is called with the number of each event that the filters keep back.
	Omit func(seq uint64)
}

// EventsPosition is where a journal stands.
type EventsPosition struct {
	// Journal is its random name: a number means something only together with it.
	Journal string
	// Newest is the number of its newest event.
	Newest uint64
}

// HistoryGoneError says that the events after a number can't be had: they are
// not kept any more, or the number belongs to another journal.
type HistoryGoneError struct {
	EventsPosition
	// Oldest is the number of the oldest event that is kept.
	Oldest uint64
	text   string
}

func (e *HistoryGoneError) Error() string { return e.text }

// Unwrap gives the error its class.
func (e *HistoryGoneError) Unwrap() error { return errdefs.ErrOutOfRange }

// Event is an event of Docker's vocabulary with its place in the journal.
type Event struct {
	events.Message
	// Seq is the event's number: gapless, from 1.
	Seq uint64
	// Generation counts the container's starts; 0 where that means nothing.
	Generation uint64
	// Recovered tells that the change was found afterwards and not seen.
	Recovered bool
}

// ExecInspect is what is known of an exec.
type ExecInspect = container.ExecInspectResponse
