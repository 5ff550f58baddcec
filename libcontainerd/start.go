package libcontainerd

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/internal/span"
)

// StartOptions are the options of one start of a container.
type StartOptions struct {
	// Stdio says which streams the init process has.
	Stdio StdioConfig
	// Checkpoint is the absolute path of the directory to restore the task from, such as Root/Name of
	// CheckpointOptions. Empty makes a new task.
	Checkpoint string
}

// Start creates the container's task, starts it, and returns the pid of the init process, which may have exited by
// then. The container must be created or stopped; while the task of its last start is still being deleted, Start
// waits. The streams are handed to Backend.AttachStreams before the task is created, and EventStart is delivered
// after the process runs. Start returns when the backend has taken that event: a start that was answered is never
// unknown to the next client, if the backend keeps what it takes. So a callback of the backend must not call Start for
// its own container: the event would wait for the callback.
//
// Errors: InvalidArgument if the spec and opts differ in their terminal (after a Restore without a Pid the client
// doesn't know the spec, and the daemon may refuse it); FailedPrecondition in any other status; those of Stdio.Create
// and of AttachStreams; a StartError with the daemon's class and text; the cause of ctx. After an error nothing is left
// of the start, and the container has the status that it had before, with one exception: if ctx ends, or the client
// shuts down, while the backend has not taken the event, the container runs on, and Start returns the pid with an error
// that wraps ErrNotTaken. The event is delivered later. If the client shuts down before, the next client deletes the
// task: it is restored without the pid. The end of ctx after Start has returned changes nothing.
func (ctr *Container) Start(ctx context.Context, opts StartOptions) (pid int, err error) {
	p, err := ctr.start(ctx, opts)
	if err != nil {
		return 0, err
	}
	if err := ctr.awaitTaken(ctx, p.startTaken); err != nil {
		return p.pid, fmt.Errorf("container %q runs: %w", ctr.id, err)
	}
	return p.pid, nil
}

func (ctr *Container) start(ctx context.Context, opts StartOptions) (_ *process, err error) {
	if opts.Checkpoint != "" {
		if err := checkRestored(opts.Checkpoint); err != nil {
			return nil, ctr.failed("start", err)
		}
	}
	if err := opts.Stdio.matches(ctr.terminal); err != nil {
		return nil, ctr.failed("start", err)
	}
	p, was, err := ctr.beginStart(ctx, opts.Stdio)
	if err != nil {
		return nil, err
	}
	var u undo
	err = errAbandoned
	defer func() {
		if err != nil {
			u.run()
			ctr.startFailed(p, was, err)
			err = ctr.failed("start", err)
		}
	}()
	err = ctr.startInit(ctx, p, opts, &u)
	return p, err
}

// errAbandoned is the error of a start whose goroutine ended before the start did: AttachStreams or the daemon
// panicked or called runtime.Goexit.
var errAbandoned = fmt.Errorf("the start was abandoned half way: %w", errdefs.ErrAborted)

func (ctr *Container) startInit(ctx context.Context, p *process, opts StartOptions, u *undo) error {
	if err := ctr.sweep(ctx); err != nil {
		return err
	}
	streams, err := ctr.openStreams(ctx, p, u)
	if err != nil {
		return err
	}
	u.add(func() { ctr.destroyLater(InitProcess) })
	pid, err := ctr.createTask(ctx, ctr.taskConfig(p, streams, opts))
	if err != nil {
		return notStarted(err)
	}
	ctr.setPid(p, pid)
	streams.ReleaseStdin(p.closeIO)
	if err := ctr.arm(p, u); err != nil {
		return err
	}
	if err := ctr.run(ctx, p); err != nil {
		return err
	}
	return ctr.started(p, EventStart)
}

// createTask has the daemon create the task. A task that is there already is a leftover: a create whose answer
// nobody got was completed after its leftovers were deleted.
func (ctr *Container) createTask(ctx context.Context, c TaskConfig) (pid int, err error) {
	pid, err = ctr.client.daemon.CreateTask(ctx, ctr.id, c)
	if !errdefs.IsAlreadyExists(err) {
		return pid, err
	}
	if err := ctr.client.destroy(ctx, ctr.id, InitProcess); err != nil {
		return 0, err
	}
	return ctr.client.daemon.CreateTask(ctx, ctr.id, c)
}

// run has the daemon start p, and sets its pid, which may not have been known before: containerd restores a
// checkpoint only in Start.
func (ctr *Container) run(ctx context.Context, p *process) error {
	pid, err := ctr.client.daemon.Start(ctx, ctr.id, p.id)
	if err != nil {
		return notStarted(err)
	}
	if pid <= 0 {
		return fmt.Errorf("the runtime daemon gave process %q pid %d: %w", p.id, pid, errdefs.ErrInternal)
	}
	ctr.setPid(p, pid)
	return nil
}

func (ctr *Container) taskConfig(p *process, streams Streams, opts StartOptions) TaskConfig {
	return TaskConfig{
		Rootfs: ctr.options.Rootfs, Stdio: streams.Paths(), Terminal: p.config.Terminal,
		Runtime: ctr.options.Runtime, RuntimeOptions: ctr.options.RuntimeOptions,
		RuntimePath: ctr.options.RuntimePath, SystemdCgroup: ctr.options.SystemdCgroup,
		NoPivotRoot: ctr.options.NoPivotRoot || ctr.client.options.ramdisk,
		IoUID:       ctr.options.UID, IoGID: ctr.options.GID, Checkpoint: opts.Checkpoint, Warn: p.warn,
	}
}

// before is the state of a container before a start, to which a failed start returns.
type before struct {
	status Status
	init   *process
}

// beginStart sets the status to starting, and begins a new generation.
func (ctr *Container) beginStart(ctx context.Context, cfg StdioConfig) (*process, before, error) {
	var former *process
	for {
		ctr.mu.Lock()
		if err := ctr.rec.allowFree("start"); err != nil {
			ctr.mu.Unlock()
			return nil, before{}, err
		}
		former = ctr.rec.init
		if former == nil || former.isSettled() {
			break
		}
		ctr.mu.Unlock()
		if err := former.awaitSettled(ctx); err != nil {
			return nil, before{}, ctr.failed("start", err)
		}
	}
	defer ctr.mu.Unlock()
	was := before{ctr.rec.status, former}
	ctr.rec.transition(StatusStarting)
	ctr.rec.generation++
	p := newProcess(ctr, InitProcess, ctr.rec.generation, cfg)
	p.request = span.Of(ctx)
	ctr.rec.init = p
	return p, was, nil
}

func (p *process) isSettled() bool {
	select {
	case <-p.settled:
		return true
	default:
		return false
	}
}

// awaitSettled waits until nothing of an ended process is left: it is deleted at the daemon, and its streams are
// closed.
func (p *process) awaitSettled(ctx context.Context) error {
	if err := awaitClosed(ctx, p.container.client.active, p.settled); err != nil {
		return fmt.Errorf("the task of its last start is still being deleted: %w", err)
	}
	return nil
}

// openStreams makes the streams of p and hands them to the backend.
func (ctr *Container) openStreams(ctx context.Context, p *process, u *undo) (_ Streams, err error) {
	ctx, s := span.Start(ctx, "streams")
	defer func() { s.End(err) }()
	streams, err := ctr.client.stdio.Create(ctx, p.config)
	if err != nil {
		return nil, fmt.Errorf("cannot make the streams of process %q: %w", p.id, err)
	}
	u.add(func() { ctr.client.closeStreams(p, streams) })
	if err := ctr.client.attach(ctx, p, streams, false); err != nil {
		return nil, err
	}
	ctr.mu.Lock()
	p.streams = streams
	closeStdin := p.stdinCloseAsked
	ctr.mu.Unlock()
	if stdin := streams.Stdin(); closeStdin && stdin != nil {
		return streams, stdin.Close()
	}
	return streams, nil
}

// arm starts the goroutine that waits for the exit of p.
func (ctr *Container) arm(p *process, u *undo) error {
	p.watching = true
	if !ctr.client.watch(p) {
		return fmt.Errorf("the client is shutting down: %w", errdefs.ErrUnavailable)
	}
	u.add(func() {
		p.cancel()
		<-p.watched
	})
	return nil
}

func (ctr *Container) setPid(p *process, pid int) {
	ctr.mu.Lock()
	p.pid = pid
	ctr.mu.Unlock()
}

// warn adds a text to the warnings of p's start event.
func (p *process) warn(text string) {
	p.container.mu.Lock()
	p.warnings = append(p.warnings, text)
	p.container.mu.Unlock()
}

// started records that p runs, and, if its exit came before, that it has exited. It fails if p must not run any
// more: the client has shut down or, for an exec, the container's init process has exited.
func (ctr *Container) started(p *process, e EventType) error {
	ctr.mu.Lock()
	if err := ctr.rec.mayRun(p); err != nil {
		ctr.mu.Unlock()
		return err
	}
	taken, err := ctr.emitAwaited(p, Event{Type: e, ProcessID: p.id, Pid: p.pid, Generation: p.generation,
		Warnings: p.warnings, Stdio: p.config.StdioConfig, StdinClosed: p.stdinClosed, Time: time.Now()})
	p.startTaken = taken
	if err != nil {
		ctr.mu.Unlock()
		return err
	}
	p.state = processRunning
	if p.id == InitProcess {
		ctr.rec.transition(StatusRunning)
	}
	held := p.held
	if held != nil {
		ctr.endLocked(p, *held)
	}
	ctr.mu.Unlock()
	if held != nil && !ctr.client.copiesOutput() {
		p.streams.ExitKnown()
	}
	return nil
}

// mayRun returns an error for an exec of a generation that has ended.
func (r *record) mayRun(p *process) error {
	if p.id != InitProcess && (!r.status.Alive() || r.generation != p.generation || r.sealed == p.generation) {
		return fmt.Errorf("the container ended: %w", errdefs.ErrFailedPrecondition)
	}
	return nil
}

// startFailed removes a process that never ran from the record.
func (ctr *Container) startFailed(p *process, was before, why error) {
	p.cancel()
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	p.failure = fmt.Errorf("process %q of container %q was not started: %w", p.id, ctr.id, why)
	close(p.taken)
	close(p.settled)
	if p.id != InitProcess {
		delete(ctr.rec.execs, p.id)
		return
	}
	ctr.rec.init = was.init
	ctr.rec.transition(was.status)
}

// Exec starts another process in the running container, and returns its pid. cfg says which streams the process
// has. The streams are handed to Backend.AttachStreams, then EventExecAdded and
// EventExecStarted are delivered. Exec returns when the backend has taken them, with Start's exception: if ctx ends, or
// the client shuts down, before that, the exec runs on, and Exec returns the pid with an error that wraps ErrNotTaken.
// A callback of the backend must not call Exec for its own container.
//
// Errors: InvalidArgument for an execID that doesn't pass CheckID, a spec without arguments, or another terminal in
// cfg than in spec; AlreadyExists for
// the id of an exec that runs or is among the last 128 that exited; FailedPrecondition unless the container runs; a
// StartError with the daemon's class and text; the cause of ctx. After an error nothing is left of the exec, and no
// exit of it is delivered.
func (ctr *Container) Exec(ctx context.Context, execID string, spec *specs.Process,
	cfg StdioConfig) (pid int, err error) {
	p, err := ctr.exec(ctx, execID, spec, cfg)
	if err != nil {
		return 0, err
	}
	if err := ctr.awaitTaken(ctx, p.startTaken); err != nil {
		return p.pid, fmt.Errorf("exec %q in container %q runs: %w", execID, ctr.id, err)
	}
	return p.pid, nil
}

func (ctr *Container) exec(ctx context.Context, execID string, spec *specs.Process,
	cfg StdioConfig) (_ *process, err error) {
	p, err := ctr.beginExec(ctx, execID, spec, cfg)
	if err != nil {
		return nil, err
	}
	var u undo
	err = errAbandoned
	defer func() {
		if err != nil {
			if errdefs.IsUnknown(err) && ctr.Status() != StatusRunning {
				// The container was paused or has exited meanwhile. OCI runtimes report that in their text only,
				// without a class.
				err = fmt.Errorf("%w: %w", errdefs.ErrFailedPrecondition, err)
			}
			u.run()
			ctr.startFailed(p, before{}, err)
			err = fmt.Errorf("cannot start exec %q in container %q: %w", execID, ctr.id, err)
		}
	}()
	err = ctr.startExec(ctx, p, spec, &u)
	return p, err
}

func (ctr *Container) startExec(ctx context.Context, p *process, spec *specs.Process, u *undo) error {
	if err := ctr.sweepExec(ctx, p.id); err != nil {
		return err
	}
	streams, err := ctr.openStreams(ctx, p, u)
	if err != nil {
		return err
	}
	u.add(func() { ctr.destroyLater(p.id) })
	ec := ExecConfig{Process: spec, Stdio: streams.Paths(), Terminal: p.config.Terminal, Warn: p.warn}
	if err := ctr.client.daemon.AddExec(ctx, ctr.id, p.id, ec); err != nil {
		return notStarted(err)
	}
	if err := ctr.execAdded(p); err != nil {
		return err
	}
	if err := ctr.arm(p, u); err != nil {
		return err
	}
	if err := ctr.run(ctx, p); err != nil {
		return err
	}
	streams.ReleaseStdin(p.closeIO)
	return ctr.started(p, EventExecStarted)
}

func (ctr *Container) execAdded(p *process) error {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if err := ctr.rec.mayRun(p); err != nil {
		return err
	}
	return ctr.emit(p, Event{Type: EventExecAdded, ProcessID: p.id, Generation: p.generation, Time: time.Now()})
}

func (ctr *Container) beginExec(ctx context.Context, execID string, spec *specs.Process,
	cfg StdioConfig) (*process, error) {
	if err := checkExecID(ctr.id, execID); err != nil {
		return nil, err
	}
	if spec == nil || len(spec.Args) == 0 {
		return nil, fmt.Errorf("exec %q in container %q has no arguments: %w",
			execID, ctr.id, errdefs.ErrInvalidArgument)
	}
	if err := cfg.matches(&spec.Terminal); err != nil {
		return nil, ctr.failed("exec in", err)
	}
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if err := ctr.rec.allow("exec in", StatusRunning); err != nil {
		return nil, err
	}
	if ctr.rec.execs[execID] != nil {
		return nil, fmt.Errorf("container %q has or had an exec %q: %w", ctr.id, execID, errdefs.ErrAlreadyExists)
	}
	p := newProcess(ctr, execID, ctr.rec.generation, cfg)
	p.request = span.Of(ctx)
	ctr.rec.execs[execID] = p
	return p, nil
}
