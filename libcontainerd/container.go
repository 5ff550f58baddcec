package libcontainerd

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
)

// Container is a container of a Client: a record and, while the container runs, its processes. Its methods may be
// called from any goroutine. A request changes the status at once (to starting, pausing, resuming or deleting), so
// a second request that this status doesn't allow fails with FailedPrecondition and doesn't wait.
type Container struct {
	client  *Client
	id      string
	options CreateOptions
	// terminal is the spec's. It is nil if the container was restored without a process.
	terminal *bool

	sweeping chan struct{} // holds one item while leftovers are deleted

	mu  sync.Mutex
	rec record
}

// record is the state of a container that its lock guards.
type record struct {
	id            string
	status        Status
	seq           uint64 // the number of transitions so far
	generation    uint64
	init          *process            // of the current or last generation; nil before the first
	execs         map[string]*process // those that run, and the last keptExecs that exited
	ended         []string            // ids in execs that exited, oldest first
	leftovers     map[string]bool     // ids of processes that the daemon may still have after a failed start
	sealed        uint64              // the generation that takes no more execs: its init process has exited
	forcedDeletes int                 // how many forced deletes are in progress
	statusChanged chan struct{}       // closed by the next transition; nil while nobody waits for one
	halted        bool                // the client shut down before the backend took an event

	checkpointing bool // a Checkpoint is in progress
}

// keptExecs is how many execs a container remembers after their exits, for Wait, and to refuse their ids for new
// execs.
const keptExecs = 128

func newContainer(c *Client, id string, opts CreateOptions) *Container {
	return &Container{
		client: c, id: id, options: opts, sweeping: make(chan struct{}, 1),
		rec: record{id: id, execs: map[string]*process{}},
	}
}

// ID returns the container's id.
func (ctr *Container) ID() string { return ctr.id }

// Status returns the container's status now. It waits for nothing.
func (ctr *Container) Status() Status {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	return ctr.rec.status
}

// Pid returns the pid of the init process. It is 0 if Status().Alive() is false.
func (ctr *Container) Pid() int {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if !ctr.rec.status.Alive() {
		return 0
	}
	return ctr.rec.init.pid
}

// Generation returns the number of starts of the container so far. Failed starts count.
func (ctr *Container) Generation() uint64 {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	return ctr.rec.generation
}

// Execs returns the ids of the execs that run, sorted.
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

// Wait waits for the exit of a process and returns it, after the backend has taken the exit and drained the output.
// process is InitProcess or the id of an exec.
//
// Wait also works after the exit: for the init process until the next start or the container's deletion, for an
// exec as long as it is among the last 128 execs that exited.
//
// Errors: NotFound for an exec that the container doesn't have; FailedPrecondition for the init process of a
// container that was not started since Create, or since a Restore without a Pid: the engine has stored the exit of an
// earlier run itself; the error of the start, if the process is being started and that fails;
// Unavailable when the client has shut down; the cause of ctx.
func (ctr *Container) Wait(ctx context.Context, process string) (Exit, error) {
	p, err := ctr.find("wait for", process)
	if err != nil {
		return Exit{}, err
	}
	if err := awaitClosed(ctx, ctr.client.final, p.taken); err != nil {
		return Exit{}, fmt.Errorf("waiting for process %q of container %q: %w", process, ctr.id, err)
	}
	return p.result()
}

// find returns a process, whether it runs or has exited.
func (ctr *Container) find(action, process string) (*process, error) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	return ctr.rec.find(action, process)
}

func (r *record) find(action, process string) (*process, error) {
	p := r.init
	if process != InitProcess {
		if p = r.execs[process]; p == nil {
			return nil, fmt.Errorf("cannot %s exec %q: container %q has no such exec: %w",
				action, process, r.id, errdefs.ErrNotFound)
		}
	}
	if p == nil {
		return nil, fmt.Errorf("cannot %s container %q: it was not started since it was created or restored: %w",
			action, r.id, errdefs.ErrFailedPrecondition)
	}
	return p, nil
}

// living returns a process that was started and whose exit isn't known.
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
