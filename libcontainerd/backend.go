package libcontainerd

import (
	"context"
	"fmt"
	"time"
)

// EventType says what happened to a container.
type EventType int

// The state changes that a Backend is told.
const (
	EventStart EventType = iota + 1
	EventExit
	EventExitProcess
	EventOOM
	EventPaused
	EventResumed
	EventExecAdded
	EventExecStarted
	EventRestore
)

// Event is one state change of a container.
type Event struct {
	Type        EventType
	ContainerID string
	// ProcessID is InitProcess, or the exec that EventExitProcess,
	// EventExecAdded and EventExecStarted tell of.
	ProcessID string
	Pid       int
	// Generation counts the starts of the container, from 1.
	Generation uint64
	// Exit is set for EventExit and EventExitProcess.
	Exit Exit
	// Warnings say, with EventStart and EventExecStarted, what the process got
	// less of than it was to have, such as a limit that the host withholds.
	Warnings []string
	// Recovered tells that the change was found by comparing states, and not
	// seen when it happened.
	Recovered bool
	Time      time.Time
}

// Backend is the engine above: it is told of every state change exactly once
// and in order, container by container.
type Backend interface {
	// AttachStreams hands over the opened streams of a process before create
	// (for an exec: start) is sent. An error makes the start fail.
	AttachStreams(ctx context.Context, containerID, processID string, s Streams) error
	// StateChanged is called from the container's queue, without any lock. An
	// error makes the queue call it again, with growing delays, until it is
	// taken; later events of the same container wait meanwhile. The process of
	// an exit is deleted at the daemon only after its exit has been taken. An
	// exit must not wait for the end of the process's output here: where the
	// daemon copies it, that comes after. See Drainer.
	StateChanged(ctx context.Context, e Event) error
}

// Drainer is a Backend that wants to read the rest of an ended process's
// output before the exit is told to those who Wait, and before the streams are
// closed. Without it they are closed once the exit has been taken.
type Drainer interface {
	// DrainStreams returns when the backend has read what it wants: after the
	// exit was taken, with the outputs coming to their end. The container's
	// further events wait meanwhile, so it must not depend on a client who
	// reads slowly. An error is logged.
	DrainStreams(ctx context.Context, containerID, processID string) error
}

var eventNames = map[EventType]string{
	EventStart: "start", EventExit: "exit", EventExitProcess: "exit-process", EventOOM: "oom",
	EventPaused: "pause", EventResumed: "resume", EventExecAdded: "exec-added",
	EventExecStarted: "exec-started", EventRestore: "restore",
}

// String is the type in lower case, for messages.
func (t EventType) String() string {
	if name, ok := eventNames[t]; ok {
		return name
	}
	return fmt.Sprintf("event(%d)", int(t))
}
