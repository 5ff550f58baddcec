package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
	"github.com/engine-lite/engine-lite/runtimed/internal/criu"
	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
	"github.com/engine-lite/engine-lite/runtimed/internal/ocispec"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// container is a record, which is on disk only, and at times its task.
type container struct {
	d      *Daemon
	ns, id string
	dir    string
	// busy holds one token: who has it may change the container. It is a channel so that waiting for it ends with a
	// context.
	busy chan struct{}

	mu      sync.Mutex
	task    *containerTask // nil without one
	deleted bool           // no longer in the daemon's index
}

func newContainer(d *Daemon, ns, id, dir string) *container {
	return &container{d: d, ns: ns, id: id, dir: dir, busy: make(chan struct{}, 1)}
}

// acquire waits for the right to change the container. The caller releases it.
func (c *container) acquire(ctx context.Context) error {
	select {
	case c.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("another request is working on container %q: %w", c.id, ctx.Err())
	}
}

func (c *container) release() { <-c.busy }

// get returns the task, which is nil without one.
func (c *container) get() *containerTask {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.task
}

// read returns the record from disk. It is not kept in memory: most of it is the spec, which is as large as
// everything else and is needed once or twice. NotFound if the record is not on disk yet, or no longer.
func (c *container) read() (*containers.Container, error) {
	data, err := os.ReadFile(filepath.Join(c.dir, containerFile))
	if err != nil {
		return nil, statefile.Classed(err)
	}
	record := &containers.Container{}
	if err := proto.Unmarshal(data, record); err != nil {
		return nil, fmt.Errorf("cannot read the record of container %q: %v: %w", c.id, err, errdefs.ErrDataLoss)
	}
	if record.ID != c.id {
		return nil, fmt.Errorf("the record of container %q is that of %.80q: %w", c.id, record.ID, errdefs.ErrDataLoss)
	}
	return record, nil
}

// living returns the task. NotFound without one.
func (c *container) living() (*containerTask, error) {
	t := c.get()
	if t == nil {
		return nil, fmt.Errorf("container %q has no task: %w", c.id, errdefs.ErrNotFound)
	}
	return t, nil
}

func (c *container) setTask(t *containerTask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.task = t
}

const taskFile = "task.json"

// taskRecord is the file taskFile.
type taskRecord struct {
	Runtime ociruntime.Runtime `json:"runtime"`
	// Mounted tells that the request brought mounts for bundle/rootfs.
	Mounted bool `json:"mounted,omitempty"`
	// IsSandbox tells that other containers can share this one's namespaces, and end with it.
	IsSandbox bool `json:"isSandbox,omitempty"`
	// Sandbox is the sandbox that the container is in; nil without one.
	Sandbox *ocispec.SandboxRef `json:"sandbox,omitempty"`
	// Warnings tell what the container asked for and got less of.
	Warnings []string `json:"warnings,omitempty"`
	// HostPid tells that the container has no pid namespace of its own, so that its end doesn't end its processes.
	HostPid bool `json:"hostPid,omitempty"`
	// NoClean tells that bundle and process directories are kept for somebody to look at.
	NoClean bool `json:"noClean,omitempty"`
	// IoUID and IoGID own the FIFOs while a process is made; with 0 for both they stay whose they are.
	IoUID uint32 `json:"ioUID,omitempty"`
	IoGID uint32 `json:"ioGID,omitempty"`
	// StartsDirectly tells that a start needs no process of the OCI runtime.
	StartsDirectly bool `json:"releasable,omitempty"`
	// Planned are the control groups that the OCI runtime makes.
	Planned cgroup.Planned `json:"planned,omitzero"`
	// Restore is the checkpoint that the start restores; nil for a start of its own.
	Restore *criu.Restore `json:"restore,omitempty"`
}

// chown gives the FIFOs of a process to whom the options name: the container's user opens /dev/stdout anew, also
// where the OCI runtime can't make the FIFO its own, as in a user namespace.
func (r taskRecord) chown(files fifo.ContainerFiles, paths fifo.Paths) error {
	if r.IoUID == 0 && r.IoGID == 0 {
		return nil
	}
	var errs []error
	for path, f := range map[string]*os.File{paths.Stdin: files.Stdin, paths.Stdout: files.Stdout,
		paths.Stderr: files.Stderr} {
		if path != "" {
			errs = append(errs, f.Chown(int(r.IoUID), int(r.IoGID)))
		}
	}
	return errors.Join(errs...)
}

// containerTask is a container's init process with its execs.
type containerTask struct {
	c      *container
	record taskRecord
	init   *Process
	plan   *plan // while it is being created
	// oomScore is the OOM score adjustment of the init process that is being created; nil where the spec has none.
	oomScore *int

	mu     sync.Mutex
	groups cgroup.Groups // set before the create returns
	execs  map[string]*Process
	paused bool
}

func (t *containerTask) isPaused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.paused
}

func (t *containerTask) setPaused(paused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = paused
}

func (t *containerTask) controlGroups() cgroup.Groups {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.groups
}

func (t *containerTask) setGroups(g cgroup.Groups) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups = g
}

// process finds a process by its exec id; the init process with an empty one. NotFound without one.
func (t *containerTask) process(exec string) (*Process, error) {
	if exec == "" {
		return t.init, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.execs[exec]
	if !ok {
		return nil, fmt.Errorf("container %q has no process %q: %w", t.c.id, exec, errdefs.ErrNotFound)
	}
	return p, nil
}

// processes returns all of them, the init process last, in no other order.
func (t *containerTask) processes() []*Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*Process, 0, len(t.execs)+1)
	for _, p := range t.execs {
		list = append(list, p)
	}
	return append(list, t.init)
}

func (t *containerTask) addExec(p *Process) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.execs[p.exec]; ok {
		return fmt.Errorf("container %q has a process %q: %w", t.c.id, p.exec, errdefs.ErrAlreadyExists)
	}
	t.execs[p.exec] = p
	return nil
}

func (t *containerTask) removeExec(p *Process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.execs, p.exec)
}

func (c *container) isDeleted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deleted
}

func (c *container) setDeleted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleted = true
}

// target is the container as its OCI runtime is asked to change it.
func (t *containerTask) target() ociruntime.Container {
	return ociruntime.Container{ID: t.c.id, Dir: t.init.dir, Groups: t.controlGroups(), Over: t.init.isOver}
}

// InitProcesses returns the init processes of all tasks of a namespace.
func (d *Daemon) InitProcesses(ns string) []*Process {
	var list []*Process
	for _, c := range d.list(ns) {
		if t := c.get(); t != nil {
			list = append(list, t.init)
		}
	}
	return list
}
