package core

import (
	"fmt"
	"slices"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
)

// status is the state of a process.
//
//	init:  creating ──> created ──> starting ──> running ──> stopped
//	                       │  ^─────────┘ │                    ^
//	                       └──────────────┴────────────────────┤
//	exec:  added ──> starting ──> running ─────────────────────┘
//	         ^──────────┘
type status int

const (
	statusInvalid status = iota
	added                // an exec that nobody has started yet
	creating             // the OCI runtime creates the init process
	created
	starting // the OCI runtime starts the init process, or runs the exec
	running
	stopped
)

// transitions are the moves that a process can make. Leaving "starting" for where it came from is a start that failed.
var transitions = map[status][]status{
	added:    {starting, stopped},
	creating: {created},
	created:  {starting, stopped},
	starting: {running, created, added, stopped},
	running:  {stopped},
}

func (s status) String() string {
	switch s {
	case added:
		return "added"
	case creating:
		return "being created"
	case created:
		return "created"
	case starting:
		return "being started"
	case running:
		return "running"
	case stopped:
		return "stopped"
	case statusInvalid:
	}
	return "invalid"
}

// proto is the status in containerd's API, which knows nothing between two states.
func (s status) proto() task.Status {
	switch s {
	case added, creating, created, starting:
		return task.Status_CREATED
	case running:
		return task.Status_RUNNING
	case stopped:
		return task.Status_STOPPED
	case statusInvalid:
	}
	return task.Status_UNKNOWN
}

// transitionLocked is the only writer of a process's status. A move that the table doesn't have is of class
// FailedPrecondition.
func (p *Process) transitionLocked(action string, to status) error {
	if !slices.Contains(transitions[p.status], to) {
		return p.wrongStatusLocked(action)
	}
	p.status = to
	return nil
}

func (p *Process) transition(action string, to status) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.transitionLocked(action, to)
}

func (p *Process) wrongStatusLocked(action string) error {
	return fmt.Errorf("cannot %s %s while it is %s: %w", action, p, p.status, errdefs.ErrFailedPrecondition)
}
