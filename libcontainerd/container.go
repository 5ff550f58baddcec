package libcontainerd

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
)

// Container is a container of a Client: its record, and while it runs its
// processes. Its methods may be called from any goroutine. Requests change its
// status at once (to starting, pausing, resuming, deleting), so that a second
// request that doesn't fit gets FailedPrecondition rather than a place in a
// line.
type Container struct {
	client  *Client
	id      string
	options CreateOptions

	sweeping chan struct{} // holds one while remains are deleted

	mu  sync.Mutex
	rec record
}

// record is what a container's lock guards.
type record struct {
	id         string
	status     Status
	seq        uint64 // counts transitions
	generation uint64
	init       *process            // of the current or last generation; nil before the first
	execs      map[string]*process // living ones, and the latest that ended
	ended      []string            // ids in execs that ended, oldest first
	remains    map[string]bool     // processes that may still have to be deleted at the daemon
	sealed     uint64              // the generation that takes no more execs, since its init process ended
	doomed     int                 // forced deletes in flight
	moved      chan struct{}       // closed by the next transition; nil where nobody waits for one
	halted     bool                // the client shut down before an event was taken

	checkpointing bool // a Checkpoint is in flight
}

// keptExecs is how many ended execs a container remembers, for Wait and so
// that their ids aren't taken again.
const keptExecs = 128

func newContainer(c *Client, id string, opts CreateOptions) *Container {
	return &Container{
		client: c, id: id, options: opts, sweeping: make(chan struct{}, 1),
		rec: record{id: id, execs: map[string]*process{}},
	}
}

// ID is the container's id.
func (ctr *Container) ID() string { return ctr.id }

// Status is what the container is doing now.
func (ctr *Container) Status() Status {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	return ctr.rec.status
}

// Pid of the living init process; 0 without one.
func (ctr *Container) Pid() int {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if !ctr.rec.status.Alive() {
		return 0
	}
	return ctr.rec.init.pid
}

// Generation counts the container's starts, failed ones too; 0 before the first.
func (ctr *Container) Generation() uint64 {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	return ctr.rec.generation
}

// Execs are the ids of the living execs, sorted.
func (ctr *Container) Execs() []string {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	var ids []string
	for id, p := range ctr.rec.execs {
		if p.state == processRunning {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Wait returns how a process ended, once the backend has taken the exit. It
// works after the exit too: for the init process until the next start or the
// container's deletion, for an exec as long as it is one of the latest 128
// that ended. NotFound for a process that never was, FailedPrecondition for
// the init process of a container that wasn't started. A failed start ends
// the wait with the error of the start, the client's end with Unavailable.
func (ctr *Container) Wait(ctx context.Context, process string) (Exit, error) {
	p, err := ctr.find("wait for", process)
	if err != nil {
		return Exit{}, err
	}
	select {
	case <-p.taken:
		return p.result()
	default:
	}
	select {
	case <-p.taken:
		return p.result()
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("waiting for process %q of container %q: %w", process, ctr.id, context.Cause(ctx))
	case <-ctr.client.hard.Done():
		return Exit{}, errShutdown("wait for container", ctr.id)
	}
}

// find returns a process, dead or alive.
func (ctr *Container) find(action, process string) (*process, error) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	return ctr.rec.find(action, process)
}

func (r *record) find(action, process string) (*process, error) {
	p := r.init
	if process != InitProcess {
		if p = r.execs[process]; p == nil {
			return nil, fmt.Errorf("cannot %s exec %q: container %q has none: %w", action, process, r.id, errdefs.ErrNotFound)
		}
	}
	if p == nil {
		return nil, fmt.Errorf("cannot %s container %q: it was never started: %w", action, r.id, errdefs.ErrFailedPrecondition)
	}
	return p, nil
}

// living returns a process that has started and whose exit isn't known.
func (ctr *Container) living(action, process string) (*process, error) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if err := ctr.rec.allow(action, StatusRunning, StatusPausing, StatusPaused, StatusResuming); err != nil {
		return nil, err
	}
	p, err := ctr.rec.find(action, process)
	if err != nil {
		return nil, err
	}
	if p.state != processRunning {
		return nil, fmt.Errorf("cannot %s process %q of container %q: it is not running: %w",
			action, process, ctr.id, errdefs.ErrFailedPrecondition)
	}
	return p, nil
}
