package libcontainerd

import (
	"context"
	"time"
)

// EventType is the type of a state change. Its values may be stored: they never change their meaning.
type EventType string

// The state changes that are delivered to a Backend.
const (
	// EventStart: the init process runs.
	EventStart EventType = "start"
	// EventExit: the init process has exited, and no exec of the container runs any more.
	EventExit EventType = "exit"
	// EventExitProcess: an exec has exited.
	EventExitProcess EventType = "exit-process"
	// EventOOM: the kernel killed a process because memory ran out. It comes once per generation, and before
	// EventExit.
	EventOOM EventType = "oom"
	// EventPaused: the container's processes are frozen.
	EventPaused EventType = "pause"
	// EventResumed: the container's processes run again.
	EventResumed EventType = "resume"
	// EventExecAdded: the daemon knows an exec, which doesn't run yet. If its start fails, no further event of the
	// exec follows.
	EventExecAdded EventType = "exec-added"
	// EventExecStarted: an exec runs.
	EventExecStarted EventType = "exec-started"
	// EventStdinClosed: the stdin of a running process is closed. The next client has to know that, see RestoreOptions.
	// A stdin that was closed before the process ran has no event; EventStart or EventExecStarted says so.
	EventStdinClosed EventType = "stdin-closed"
	// EventRestore: Client.Restore took over a container that counts as running.
	EventRestore EventType = "restore"
)

// Event is one state change of a container, as a Backend gets it. Its JSON form may be stored: later releases read it.
// It is not the event that users of an engine see, which is the engine's own: package events has that of engine-lite,
// with names, labels and a number of the journal. DaemonEvent is a hint of the runtime daemon.
type Event struct {
	Type        EventType `json:"type"`
	ContainerID string    `json:"containerId"`
	// ProcessID is the id of an exec for EventExitProcess, EventExecAdded and EventExecStarted. For EventStdinClosed it
	// is InitProcess or the id of an exec. For all other events it is InitProcess.
	ProcessID string `json:"processId"`
	// Pid is 0 for EventExecAdded.
	Pid int `json:"pid,omitempty"`
	// Generation counts the starts of the container, failed ones too, from 1.
	Generation uint64 `json:"generation"`
	// Exit is set for EventExit and EventExitProcess.
	Exit Exit `json:"exit,omitzero"`
	// Stdio and StdinClosed are set for EventStart and EventExecStarted: how the process was started, and whether its
	// stdin is closed already.
	Stdio       StdioConfig `json:"stdio,omitzero"`
	StdinClosed bool        `json:"stdinClosed,omitempty"`
	// Warnings are set for EventStart and EventExecStarted: one text for each limit or privilege that the process
	// got less of than its spec asks for.
	Warnings []string `json:"warnings,omitempty"`
	// Recovered says that the client missed the change when it happened, and found it later by comparing its record
	// with the daemon.
	Recovered bool `json:"recovered,omitempty"`
	// Time is when the change happened: for an exit Exit.Time, else when the client recorded the change.
	Time time.Time `json:"time"`
}

// Backend is the engine above the client. Each state change of a container is delivered to the backend exactly
// once, in order. The callbacks of one container run one at a time; those of different containers run at the same
// time.
type Backend interface {
	// AttachStreams hands the opened streams of a process to the backend, before the client asks the daemon to
	// create the process, or when Restore takes over a process. The backend reads and writes the streams in goroutines
	// of its own, and must not wait for output here. The client closes the streams. An error makes the start, or
	// Restore, fail.
	AttachStreams(ctx context.Context, s ProcessStreams) error
	// StateChanged delivers an event. The client calls it without holding a lock. It must not call Start, Exec, Pause,
	// Resume, Wait, Stop, Run or RunExec for the container of the event: they wait for an event of this container, and
	// the next one comes when StateChanged has returned.
	//
	// The backend takes the event by returning nil. An engine that restores its containers stores what it needs for
	// that first: the generation, the pid and the status (see RestoreOptions). Start, Exec, Pause, Resume and Wait
	// return when their event is taken, so that nothing that was answered is unknown to the next engine.
	//
	// After an error the client calls StateChanged again, with growing delays, until the backend takes the event; later
	// events of the same container wait meanwhile. The client deletes a process at the daemon only after the backend has taken its exit.
	//
	// StateChanged must not wait for the end of the process's output: a daemon that copies output completes it only
	// after the exit was taken. A backend that wants all of the output is a Drainer.
	//
	// ctx ends when the client shuts down and WithShutdownTimeout is over.
	StateChanged(ctx context.Context, e Event) error
}

// ProcessStreams are the streams of one process, as a Backend gets them.
type ProcessStreams struct {
	Streams
	ContainerID string
	// ProcessID is InitProcess or the id of an exec.
	ProcessID string
	// Restored says that the process runs since an earlier client: the engine may have output of it already.
	Restored bool
}

// Drainer is a Backend that reads the remaining output of a process after its exit. Container.Wait returns, and the
// streams are closed, only after DrainStreams has returned. The streams of a Backend that is no Drainer are closed
// when it has taken the exit.
type Drainer interface {
	// DrainStreams is called once per process, after the backend has taken the exit. It returns when the backend
	// has read the output, which comes to an end then. The container's later events wait meanwhile, so DrainStreams
	// must not wait for a slow reader. An error is logged.
	DrainStreams(ctx context.Context, containerID, processID string) error
}
