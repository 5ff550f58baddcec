package libcontainerd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CreateOptions are the options of a container that its OCI spec has no field for. The daemon refuses options that
// it can't follow, in Create or in Start: with InvalidArgument for a wrong value, with NotImplemented for an option
// that it doesn't have.
type CreateOptions struct {
	// Labels are stored by the daemon. Names that begin with "io.engine-lite." are reserved, and refused with
	// InvalidArgument.
	Labels map[string]string
	// Runtime is the runtime's type, such as "io.containerd.runc.v2". Empty is the daemon's default.
	Runtime string
	// RuntimeOptions are options for a runtime of this type. The value must be one that the Daemon can encode;
	// package remote takes a protobuf message, or a type that is registered with github.com/containerd/typeurl. For
	// runtimes of the type runc they are merged with the fields below, which have priority.
	RuntimeOptions any
	// RuntimePath is the path of the OCI runtime's program. Empty lets the daemon choose. RuntimePath, RuntimeArgs
	// and SystemdCgroup are for runtimes of the type runc only.
	RuntimePath string
	// RuntimeArgs are arguments that the OCI runtime gets before its command. runtimed takes them; containerd's API
	// has no field for them.
	RuntimeArgs []string
	// Rootfs are the mounts that the daemon makes for the root filesystem at each start. It is empty where the
	// spec's root path exists already.
	Rootfs []Mount
	// NoPivotRoot has the OCI runtime call chroot(2) and not pivot_root(2), for hosts whose root is a ramdisk. It
	// is set for all containers if the client's environment has DOCKER_RAMDISK.
	NoPivotRoot bool
	// SystemdCgroup has the OCI runtime make the control group through systemd. The spec's cgroupsPath must have
	// the form slice:prefix:name then.
	SystemdCgroup bool
	// UID and GID are the owner of the stdio of the container's processes.
	UID, GID uint32
}

// WithRuntime returns a copy of the options with another OCI runtime: the path of its program, and arguments that
// it gets before its command.
func (o CreateOptions) WithRuntime(path string, args ...string) CreateOptions {
	o.RuntimePath, o.RuntimeArgs = path, args
	return o
}

// RestoreOptions are what the engine stored of a container before it was restarted.
type RestoreOptions struct {
	// CreateOptions are those that the container was created with.
	CreateOptions
	// Generation is how often the container was started so far.
	Generation uint64
	// Pid is the pid of the init process, if one ran by the last event that the engine took; else 0.
	Pid int
	// Stdio is the StdioConfig that the init process was started with.
	Stdio StdioConfig
	// Paused says that the container was paused by the last event that the engine took.
	Paused bool
	// OOMDelivered says that the backend has taken EventOOM for this generation.
	OOMDelivered bool
	// Execs are the execs that were added or ran by the last event that the engine took. They need a Pid of the
	// init process.
	Execs []RestoreExec
}

// RestoreExec is what the engine stored of an exec before it was restarted.
type RestoreExec struct {
	ID string
	// Pid is 0 if the engine took EventExecAdded and no EventExecStarted. Such an exec may run or not; the client
	// kills and deletes it.
	Pid int
	// Stdio is the StdioConfig that the exec was started with.
	Stdio StdioConfig
}

// Create makes a container: it stores a record at the daemon. The id must pass CheckID, and the spec must have a
// process. A record or a stopped task that an earlier container of the same id left at the daemon is replaced.
//
// Errors: InvalidArgument; AlreadyExists if this client has a container of that id, or the daemon has a running
// task of it; Unavailable; those of the daemon.
func (c *Client) Create(ctx context.Context, id string, spec *specs.Spec, opts CreateOptions) (*Container, error) {
	if spec == nil || spec.Process == nil {
		return nil, fmt.Errorf("the spec of container %q has no process: %w", id, errdefs.ErrInvalidArgument)
	}
	for name, value := range opts.Labels {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("label %q=%q of container %q is not UTF-8: %w",
				name, value, id, errdefs.ErrInvalidArgument)
		}
	}
	if err := c.reserve(ctx, id); err != nil {
		return nil, err
	}
	rec := Record{ID: id, Spec: spec, Labels: opts.Labels, Runtime: opts.Runtime,
		RuntimeOptions: opts.RuntimeOptions, RuntimeArgs: opts.RuntimeArgs, NoClean: c.options.noClean}
	if err := c.store(ctx, rec); err != nil {
		c.release(id)
		return nil, fmt.Errorf("cannot create container %q: %w", id, err)
	}
	ctr := newContainer(c, id, opts)
	ctr.rec.transition(StatusCreated)
	c.add(ctr)
	return ctr, nil
}

// store creates the record at the daemon, and replaces leftovers of an earlier container. After an error no record
// is left.
func (c *Client) store(ctx context.Context, rec Record) error {
	err := c.daemon.CreateContainer(ctx, rec)
	if errdefs.IsAlreadyExists(err) {
		if err := c.deleteLeftovers(ctx, rec.ID); err != nil {
			return err
		}
		err = c.daemon.CreateContainer(ctx, rec)
	}
	if err != nil && !errdefs.IsAlreadyExists(err) {
		c.undoCreate(rec.ID)
	}
	return err
}

// undoCreate deletes the record of a reserved id whose creation failed: the daemon may have stored it all the same.
// If that fails too, a later reconcile deletes the record.
func (c *Client) undoCreate(id string) {
	ctx, cancel := c.undoing()
	defer cancel()
	err := c.deleteLeftovers(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil || errdefs.IsAlreadyExists(err) {
		delete(c.leftovers, id)
		return
	}
	c.leftovers[id] = true
}

// ClearLeftover deletes the record that a failed Create of this id may have left at the daemon. The client does
// that by itself with one of its next reconciles. An engine that removes its own record of the id calls
// ClearLeftover first, since the next client knows nothing of the leftover.
//
// It returns nil at once, without a call to the daemon, if nothing can be left. The error is Unavailable if the
// record could not be deleted.
func (c *Client) ClearLeftover(id string) error {
	if !c.hasLeftover(id) {
		return nil
	}
	ctx, cancel := c.undoing()
	defer cancel()
	if err := c.reserve(ctx, id); err != nil {
		return err
	}
	defer c.release(id)
	c.undoCreate(id)
	if c.hasLeftover(id) {
		return fmt.Errorf("cannot delete what a failed create of container %q may have left: %w",
			id, errdefs.ErrUnavailable)
	}
	return nil
}

func (c *Client) hasLeftover(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leftovers[id]
}

// clearLeftovers calls undoCreate again for all ids where it has failed.
func (c *Client) clearLeftovers() {
	c.mu.Lock()
	ids := slices.Sorted(maps.Keys(c.leftovers))
	c.mu.Unlock()
	for _, id := range ids {
		c.clearLeftover(id)
	}
}

// clearLeftover does nothing while a request has reserved the id: that request deletes the leftover itself.
func (c *Client) clearLeftover(id string) {
	done := make(chan struct{})
	c.mu.Lock()
	err := c.reserveLocked(id)
	if err == nil {
		c.clearing[id] = done
	}
	c.mu.Unlock()
	if err != nil {
		return
	}
	c.undoCreate(id)
	c.mu.Lock()
	delete(c.clearing, id)
	delete(c.reserved, id)
	c.mu.Unlock()
	close(done)
}

// deleteLeftovers deletes the record and the task that the daemon has for an id that no container of this client
// has. A running task is no leftover, and makes it fail with AlreadyExists.
func (c *Client) deleteLeftovers(ctx context.Context, id string) error {
	t, err := c.daemon.Process(ctx, id, InitProcess)
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("cannot look for the task of an earlier container: %w", err)
	case t.Status == TaskRunning || t.Status == TaskPaused:
		return fmt.Errorf("the task of an earlier container runs, pid %d: %w", t.Pid, errdefs.ErrAlreadyExists)
	default:
		if err := c.destroy(ctx, id, InitProcess); err != nil {
			return fmt.Errorf("cannot delete the task of an earlier container: %w", err)
		}
	}
	if err := c.daemon.DeleteContainer(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot delete the record of an earlier container: %w", err)
	}
	return nil
}

// Restore makes a container from what the engine stored before it was restarted. Call it before Run. Restore makes
// no call to the daemon: the processes in opts count as running. Restore opens their streams, hands them to
// Backend.AttachStreams, and delivers EventRestore if Pid isn't 0.
//
// The first reconcile of Run then finds what happened meanwhile, and delivers it as events with Recovered set: the
// exit of a task that has stopped, or an Unknown exit if the daemon no longer has the task. If the daemon has a
// task whose start was never delivered (Pid is 0 or differs), the client kills and deletes that task.
//
// Errors: InvalidArgument for an id that doesn't pass CheckID or for opts that contradict each other; AlreadyExists
// for an id that this client has; those of Stdio.Restore and of AttachStreams. After an error the processes run on,
// and their streams are detached.
func (c *Client) Restore(ctx context.Context, id string, opts RestoreOptions) (*Container, error) {
	if err := opts.check(id); err != nil {
		return nil, fmt.Errorf("cannot restore container %q: %w", id, err)
	}
	if err := c.reserve(ctx, id); err != nil {
		return nil, err
	}
	ctr := newContainer(c, id, opts.CreateOptions)
	ctr.rec.generation = opts.Generation
	ctr.rec.leftovers = map[string]bool{InitProcess: true}
	if err := ctr.restoreProcesses(ctx, opts); err != nil {
		c.release(id)
		return nil, fmt.Errorf("cannot restore container %q: %w", id, err)
	}
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	ctr.rec.transition(opts.status())
	if opts.Pid > 0 {
		ctr.emitOrHalt(ctr.rec.init, Event{Type: EventRestore, ProcessID: InitProcess, Pid: opts.Pid,
			Generation: opts.Generation, Recovered: true, Time: time.Now()})
	}
	c.add(ctr)
	return ctr, nil
}

func (o *RestoreOptions) status() Status {
	switch {
	case o.Pid > 0 && o.Paused:
		return StatusPaused
	case o.Pid > 0:
		return StatusRunning
	case o.Generation > 0:
		return StatusStopped
	}
	return StatusCreated
}

func (o *RestoreOptions) check(id string) error {
	if o.Pid < 0 || (o.Pid > 0 && o.Generation == 0) {
		return fmt.Errorf("pid %d with generation %d: %w", o.Pid, o.Generation, errdefs.ErrInvalidArgument)
	}
	if o.Pid == 0 && len(o.Execs) > 0 {
		return fmt.Errorf("execs without an init process: %w", errdefs.ErrInvalidArgument)
	}
	seen := map[string]bool{}
	for _, e := range o.Execs {
		if err := checkExecID(id, e.ID); err != nil {
			return err
		}
		if e.Pid < 0 {
			return fmt.Errorf("exec %q with pid %d: %w", e.ID, e.Pid, errdefs.ErrInvalidArgument)
		}
		if seen[e.ID] {
			return fmt.Errorf("exec %q twice: %w", e.ID, errdefs.ErrInvalidArgument)
		}
		seen[e.ID] = true
	}
	return nil
}

// restoreProcesses opens the streams of all processes and hands them to the backend. After an error it has detached
// those that it opened.
func (ctr *Container) restoreProcesses(ctx context.Context, opts RestoreOptions) error {
	if opts.Pid == 0 {
		return nil
	}
	init, err := ctr.restoreProcess(ctx, InitProcess, opts.Pid, opts.Stdio)
	if err != nil {
		return err
	}
	init.oomEmitted = opts.OOMDelivered
	ctr.rec.init = init
	ctr.rec.leftovers = nil
	for _, e := range opts.Execs {
		if e.Pid == 0 {
			ctr.rec.addLeftover(e.ID)
			continue
		}
		p, err := ctr.restoreProcess(ctx, e.ID, e.Pid, e.Stdio)
		if err != nil {
			ctr.detachStreams()
			return err
		}
		ctr.rec.execs[e.ID] = p
	}
	return nil
}

func (ctr *Container) restoreProcess(ctx context.Context, id string, pid int, cfg StdioConfig) (*process, error) {
	p := newProcess(ctr, id, ctr.rec.generation, cfg)
	p.pid, p.state = pid, processRunning
	streams, err := ctr.client.stdio.Restore(ctx, p.config)
	if err != nil {
		p.cancel()
		return nil, fmt.Errorf("streams of %q: %w", id, err)
	}
	if err := ctr.client.attach(ctx, p, streams); err != nil {
		p.cancel()
		detach(ctr.client, p, streams)
		return nil, err
	}
	p.streams = streams
	streams.ReleaseStdin(p.closeIO)
	return p, nil
}
