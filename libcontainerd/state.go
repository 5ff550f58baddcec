package libcontainerd

import (
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
)

// Status is what a container is doing.
type Status int

// The statuses of a container.
const (
	// StatusInvalid is the zero value, which no container has.
	StatusInvalid Status = iota
	// StatusCreated has a record at the daemon and never had a process.
	StatusCreated
	// StatusStarting has a Start in flight.
	StatusStarting
	// StatusRunning has a living init process.
	StatusRunning
	// StatusPausing has a Pause in flight.
	StatusPausing
	// StatusPaused has all its processes frozen.
	StatusPaused
	// StatusResuming has a Resume in flight.
	StatusResuming
	// StatusStopped has an init process that ended.
	StatusStopped
	// StatusDeleting has a Delete in flight.
	StatusDeleting
	// StatusDeleted is gone: its id is free.
	StatusDeleted
)

var statusNames = map[Status]string{
	StatusInvalid: "invalid", StatusCreated: "created", StatusStarting: "starting",
	StatusRunning: "running", StatusPausing: "pausing", StatusPaused: "paused",
	StatusResuming: "resuming", StatusStopped: "stopped", StatusDeleting: "deleting",
	StatusDeleted: "deleted",
}

// String is the status in lower case, for messages.
func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return name
	}
	return fmt.Sprintf("status(%d)", int(s))
}

// Alive tells that the container has an init process whose exit isn't known.
func (s Status) Alive() bool {
	switch s {
	case StatusRunning, StatusPausing, StatusPaused, StatusResuming:
		return true
	case StatusInvalid, StatusCreated, StatusStarting, StatusStopped, StatusDeleting, StatusDeleted:
	}
	return false
}

// transitions is the one table of what a container may do next.
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
// A restored container enters as created, running, paused or stopped. "Seen"
// is a pause or resume that someone else asked the daemon for.
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

// transition is the sole writer of a record's status. The callers have checked
// what a request or an event may do; a move outside the table is this
// package's own bug.
func (r *record) transition(to Status) {
	if !slices.Contains(transitions[r.status], to) {
		panic(fmt.Sprintf("libcontainerd: container %q cannot go from %s to %s", r.id, r.status, to))
	}
	r.status = to
	r.seq++
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
}

// allow refuses a request, named by its action, in a status that isn't listed.
func (r *record) allow(action string, in ...Status) error {
	if slices.Contains(in, r.status) {
		return nil
	}
	if r.status == StatusDeleted {
		return fmt.Errorf("cannot %s container %q: it was deleted: %w", action, r.id, errdefs.ErrNotFound)
	}
	return fmt.Errorf("cannot %s container %q while %s: %w", action, r.id, r.status, errdefs.ErrFailedPrecondition)
}
