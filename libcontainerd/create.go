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

// CreateOptions are what a container keeps beside its OCI spec. Options that
// the daemon can't follow are refused by it, by Create or by Start:
// InvalidArgument where they can't be, NotImplemented where it lacks them.
type CreateOptions struct {
	// Labels are kept by the daemon. Those that begin with "io.engine-lite."
	// are taken.
	Labels map[string]string
	// Runtime is the runtime's type, such as "io.containerd.runc.v2"; empty
	// for the daemon's default.
	Runtime string
	// RuntimeOptions are the options that a runtime of this type takes: a value
	// that the daemon's client can encode (package remote: a protobuf message,
	// or what is registered with github.com/containerd/typeurl). Those of the
	// type runc are merged with the fields below, which go first.
	RuntimeOptions any
	// RuntimePath is the OCI runtime's binary; empty for the daemon's choice.
	// It, RuntimeArgs and SystemdCgroup are for runtimes of the type runc.
	RuntimePath string
	// RuntimeArgs are global arguments that the OCI runtime is given before its
	// command. runtimed takes them, containerd has no place for them.
	RuntimeArgs []string
	// Rootfs is mounted by the daemon at each start; empty where the spec
	// names a root path that is there already.
	Rootfs []Mount
	// NoPivotRoot is for hosts whose root is a ramdisk. It is set for all
	// containers where the environment of the client has DOCKER_RAMDISK.
	NoPivotRoot bool
	// SystemdCgroup has the OCI runtime make the control group through systemd;
	// the spec's path of control groups has the form slice:prefix:name then.
	SystemdCgroup bool
	// UID and GID own the stdio of the container's processes.
	UID, GID uint32
}

// WithRuntime returns the options with another OCI runtime: its binary, and
// global arguments that are put before its command.
func (o CreateOptions) WithRuntime(path string, args ...string) CreateOptions {
	o.RuntimePath, o.RuntimeArgs = path, args
	return o
}

// RestoreOptions are what the engine remembers of a container.
type RestoreOptions struct {
	// CreateOptions are those that the container was created with.
	CreateOptions
	// Generation counts the container's starts so far.
	Generation uint64
	// Pid of the init process that was running when the engine last knew; 0 if
	// none was.
	Pid int
	// Stdio of the init process, as it was given to Start.
	Stdio StdioConfig
	// Paused is the last known state.
	Paused bool
	// OOMDelivered says that the backend has taken EventOOM for this generation.
	OOMDelivered bool
	// Execs were running, or only added.
	Execs []RestoreExec
}

// RestoreExec is an exec that was running when the engine last knew.
type RestoreExec struct {
	ID string
	// Pid is 0 for an exec of which only EventExecAdded was told: nobody knows
	// whether it runs. It is ended and deleted.
	Pid   int
	Stdio StdioConfig
}

// Create stores a container at the daemon. The id must pass CheckID. What an
// earlier container of the same id left at the daemon is replaced, unless it
// has a living task: then the error is AlreadyExists, as it is for an id that
// this client holds.
func (c *Client) Create(ctx context.Context, id string, spec *specs.Spec, opts CreateOptions) (*Container, error) {
	if spec == nil || spec.Process == nil {
		return nil, fmt.Errorf("the spec of container %q has no process: %w", id, errdefs.ErrInvalidArgument)
	}
	for name, value := range opts.Labels {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("label %q=%q of container %q is not UTF-8: %w", name, value, id, errdefs.ErrInvalidArgument)
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

// store creates the record at the daemon, over remains if need be, or leaves
// none.
func (c *Client) store(ctx context.Context, rec Record) error {
	err := c.daemon.CreateContainer(ctx, rec)
	if errdefs.IsAlreadyExists(err) {
		if err := c.clearRemains(ctx, rec.ID); err != nil {
			return err
		}
		err = c.daemon.CreateContainer(ctx, rec)
	}
	if err != nil && !errdefs.IsAlreadyExists(err) {
		c.unstore(rec.ID)
	}
	return err
}

// unstore deletes the record of a reserved id whose creation failed, but may
// have done its work: now, or else with a reconcile to come.
func (c *Client) unstore(id string) {
	ctx, cancel := c.undoing()
	defer cancel()
	err := c.clearRemains(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil || errdefs.IsAlreadyExists(err) {
		delete(c.stray, id)
		return
	}
	c.stray[id] = true
}

// ClearLeftover deletes at the daemon what a Create of this id that failed may have
// left there. A reconcile does that too, but only this client knows of it: who
// forgets the id calls it before. It asks the daemon nothing where nothing was
// left; Unavailable where the daemon can't be asked.
func (c *Client) ClearLeftover(id string) error {
	if !c.isStray(id) {
		return nil
	}
	ctx, cancel := c.undoing()
	defer cancel()
	if err := c.reserve(ctx, id); err != nil {
		return err
	}
	defer c.release(id)
	c.unstore(id)
	if c.isStray(id) {
		return fmt.Errorf("cannot delete what a failed creation of container %q may have left: %w", id, errdefs.ErrUnavailable)
	}
	return nil
}

func (c *Client) isStray(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stray[id]
}

// unstoreStray is unstore for all ids where it failed before.
func (c *Client) unstoreStray() {
	c.mu.Lock()
	ids := slices.Sorted(maps.Keys(c.stray))
	c.mu.Unlock()
	for _, id := range ids {
		c.clearStray(id)
	}
}

// clearStray does nothing where somebody has the id, who clears it first.
func (c *Client) clearStray(id string) {
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
	c.unstore(id)
	c.mu.Lock()
	delete(c.clearing, id)
	delete(c.reserved, id)
	c.mu.Unlock()
	close(done)
}

// clearRemains deletes what is left at the daemon of a container that nobody
// holds. A living task is not a remnant.
func (c *Client) clearRemains(ctx context.Context, id string) error {
	t, err := c.daemon.Process(ctx, id, InitProcess)
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("cannot look at the remains of an earlier one: %w", err)
	case t.Status == TaskRunning || t.Status == TaskPaused:
		return fmt.Errorf("an earlier one has a living task, pid %d: %w", t.Pid, errdefs.ErrAlreadyExists)
	default:
		if err := c.destroy(ctx, id, InitProcess); err != nil {
			return fmt.Errorf("cannot delete the task of an earlier one: %w", err)
		}
	}
	if err := c.daemon.DeleteContainer(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot delete an earlier one: %w", err)
	}
	return nil
}

// Restore takes a container up again after a restart of the engine. It asks
// nothing of the daemon: processes named in opts count as running, their
// streams are opened and handed to the backend, and the reconcile of Run then
// finds what happened meanwhile, as recovered changes: the true exit of a task
// that stopped, an Unknown one where the daemon no longer has the task. So
// containers are best restored before Run. The backend is told EventRestore of
// a container that counts as running.
//
// A task at the daemon that opts doesn't know of (Pid is 0 or differs) comes
// from a start that nobody was told of; it is ended and deleted.
func (c *Client) Restore(ctx context.Context, id string, opts RestoreOptions) (*Container, error) {
	if err := opts.check(id); err != nil {
		return nil, fmt.Errorf("cannot restore container %q: %w", id, err)
	}
	if err := c.reserve(ctx, id); err != nil {
		return nil, err
	}
	ctr := newContainer(c, id, opts.CreateOptions)
	ctr.rec.generation = opts.Generation
	ctr.rec.remains = map[string]bool{InitProcess: true}
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

// restoreProcesses opens and hands over the streams of all processes, or, on
// an error, lets go of those that it opened.
func (ctr *Container) restoreProcesses(ctx context.Context, opts RestoreOptions) error {
	if opts.Pid == 0 {
		return nil
	}
	init, err := ctr.restoreProcess(ctx, InitProcess, opts.Pid, opts.Stdio)
	if err != nil {
		return err
	}
	init.oomTold = opts.OOMDelivered
	ctr.rec.init = init
	ctr.rec.remains = nil
	for _, e := range opts.Execs {
		if e.Pid == 0 {
			ctr.rec.leave(e.ID)
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
