package libcontainerd

import (
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
)

// Status is the state of a container.
type Status int

// The statuses of a container.
const (
	// StatusInvalid is the zero value. No container has it.
	StatusInvalid Status = iota
	// StatusCreated: the daemon has a record, and no process was ever started.
	StatusCreated
	// StatusStarting: a Start is in progress.
	StatusStarting
	// StatusRunning: the init process runs.
	StatusRunning
	// StatusPausing: a Pause is in progress.
	StatusPausing
	// StatusPaused: all processes are frozen.
	StatusPaused
	// StatusResuming: a Resume is in progress.
	StatusResuming
	// StatusStopped: the init process has exited.
	StatusStopped
	// StatusDeleting: a Delete is in progress.
	StatusDeleting
	// StatusDeleted: the container is gone, and its id is free.
	StatusDeleted
)

var statusNames = map[Status]string{
	StatusInvalid: "invalid", StatusCreated: "created", StatusStarting: "starting",
	StatusRunning: "running", StatusPausing: "pausing", StatusPaused: "paused",
	StatusResuming: "resuming", StatusStopped: "stopped", StatusDeleting: "deleting",
	StatusDeleted: "deleted",
}

// String returns the status in lower case, for messages.
func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return name
	}
	return fmt.Sprintf("status(%d)", int(s))
}

// Alive reports whether the container has an init process whose exit isn't known: the container is running,
// pausing, paused or resuming.
func (s Status) Alive() bool {
	switch s {
	case StatusRunning, StatusPausing, StatusPaused, StatusResuming:
		return true
	case StatusInvalid, StatusCreated, StatusStarting, StatusStopped, StatusDeleting, StatusDeleted:
	}
	return false
}

// transitions has, for each status, the statuses that may follow.
//
//	              +---- failed ---+           +---- failed ---+
//	              v               |           v               |
//	create --> created ------> starting --> running -----> pausing
//	              |            ^    |        ^  | ^           |
//	              |            |  failed     |  | |           v
//	              |            |    v        |  | +-seen-> paused <-+
//	              |            +- stopped <--+--+             |     | failed
//	              |                 |      exit (from any     v     |
//	              +--> deleting <---+      of the four)    resuming-+
//	                    |     |                               |
//	         deleted <--+     +--> failed: back      running <+
//
// A restored container begins as created, running, paused or stopped. "Seen" is a pause or resume that another
// client of the daemon asked for.
var transitions = map[Status][]Status{
	StatusInvalid:  {StatusCreated, StatusRunning, StatusPaused, StatusStopped},
	StatusCreated:  {StatusStarting, StatusDeleting},
	StatusStarting: {StatusRunning, StatusCreated, StatusStopped},
	StatusRunning:  {StatusPausing, StatusPaused, StatusStopped},
	StatusPausing:  {StatusPaused, StatusRunning, StatusStopped},
	StatusPaused:   {StatusResuming, StatusRunning, StatusStopped},
	StatusResuming: {StatusRunning, StatusPaused, StatusStopped},
	StatusStopped:  {StatusStarting, StatusDeleting},
	StatusDeleting: {StatusDeleted, StatusCreated, StatusStopped},
	StatusDeleted:  nil,
}

// transition sets the status of a record; nothing else does. Its callers check first whether a request or an event
// may change the status. A change that is not in the table is a bug of this package, and panics.
func (r *record) transition(to Status) {
	if !slices.Contains(transitions[r.status], to) {
		panic(fmt.Sprintf("libcontainerd: container %q cannot go from %s to %s", r.id, r.status, to))
	}
	r.status = to
	r.seq++
	if r.statusChanged != nil {
		close(r.statusChanged)
		r.statusChanged = nil
	}
}

// allow returns an error for a request in a status that isn't listed. action names the request, for the error.
func (r *record) allow(action string, in ...Status) error {
	if slices.Contains(in, r.status) {
		return nil
	}
	if r.status == StatusDeleted {
		return fmt.Errorf("cannot %s container %q: it was deleted: %w", action, r.id, errdefs.ErrNotFound)
	}
	return fmt.Errorf("cannot %s container %q while %s: %w", action, r.id, r.status, errdefs.ErrFailedPrecondition)
}
