package libcontainerd

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/internal/span"
)

// StartOptions are what one start of a container needs.
type StartOptions struct {
	// Stdio says which streams the init process has; its ids are filled in.
	// UID and GID default to the container's.
	Stdio StdioConfig
	// Checkpoint is a directory to restore the task from, such as Root/Name of
	// a Checkpoint, by its absolute path; empty for a fresh task.
	Checkpoint string
}

// Start creates the container's task and starts it: from created, or again
// once it has stopped. While the former task is still being deleted it waits
// for that. It returns the init process's pid once the process runs; that may
// have ended by then. The backend is handed the streams before, and told
// EventStart. After an error nothing is left of the start, and the error is
// the daemon's own in class and text, see StartError. A context that ends makes the start fail
// and be taken back.
func (ctr *Container) Start(ctx context.Context, opts StartOptions) (pid int, err error) {
	p, err := ctr.start(ctx, opts)
	if err != nil {
		return 0, err
	}
	return p.pid, nil
}

func (ctr *Container) start(ctx context.Context, opts StartOptions) (_ *process, err error) {
	if opts.Checkpoint != "" {
		if err := checkRestored(opts.Checkpoint); err != nil {
			return nil, ctr.failed("start", err)
		}
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

// errAbandoned is the error of a start whose goroutine ended in the middle: a
// callback panicked, or ended it.
var errAbandoned = fmt.Errorf("it was abandoned half way: %w", errdefs.ErrAborted)

func (ctr *Container) startInit(ctx context.Context, p *process, opts StartOptions, u *undo) error {
	if err := ctr.sweep(ctx); err != nil {
		return err
	}
	streams, err := ctr.openStreams(ctx, p, u)
	if err != nil {
		return err
	}
	u.add(func() { ctr.destroyLater(InitProcess) })
	pid, err := ctr.client.daemon.CreateTask(ctx, ctr.id, ctr.taskConfig(p, streams, opts))
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

// run has the daemon start p, which then has a pid: containerd restores a
// checkpoint only now.
func (ctr *Container) run(ctx context.Context, p *process) error {
	pid, err := ctr.client.daemon.Start(ctx, ctr.id, p.id)
	if err != nil {
		return notStarted(err)
	}
	if pid <= 0 {
		return fmt.Errorf("the runtime daemon gave it pid %d: %w", pid, errdefs.ErrInternal)
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

// before is what a container was before a start, for when it fails.
type before struct {
	status Status
	init   *process
}

// beginStart makes the container starting, with a new generation.
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

// awaitSettled waits until an ended process has left nothing behind.
func (p *process) awaitSettled(ctx context.Context) error {
	select {
	case <-p.settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("its former task is still being deleted: %w", context.Cause(ctx))
	case <-p.container.client.life.Done():
		return fmt.Errorf("the client is shutting down: %w", errdefs.ErrUnavailable)
	}
}

// openStreams makes p's streams and hands them to the backend.
func (ctr *Container) openStreams(ctx context.Context, p *process, u *undo) (_ Streams, err error) {
	ctx, s := span.Start(ctx, "streams")
	defer func() { s.End(err) }()
	streams, err := ctr.client.stdio.Create(ctx, p.config)
	if err != nil {
		return nil, fmt.Errorf("cannot make its streams: %w", err)
	}
	u.add(func() { ctr.client.closeStreams(p, streams) })
	if err := ctr.client.attach(ctx, p, streams); err != nil {
		return nil, err
	}
	ctr.mu.Lock()
	p.streams = streams
	wished := p.stdinWished
	ctr.mu.Unlock()
	if stdin := streams.Stdin(); wished && stdin != nil {
		return streams, stdin.Close()
	}
	return streams, nil
}

// arm has p waited for.
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

// warn notes what p gets less of.
func (p *process) warn(text string) {
	p.container.mu.Lock()
	p.warnings = append(p.warnings, text)
	p.container.mu.Unlock()
}

// started makes p running, and ended if its exit came meanwhile. It fails where
// the process has no place any more: the client or, for an exec, the container
// came to its end.
func (ctr *Container) started(p *process, e EventType) error {
	ctr.mu.Lock()
	if err := ctr.rec.hasPlace(p); err != nil {
		ctr.mu.Unlock()
		return err
	}
	err := ctr.emit(p, Event{Type: e, ProcessID: p.id, Pid: p.pid, Generation: p.generation, Warnings: p.warnings, Time: time.Now()})
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

// hasPlace refuses an exec of a generation that ended, or whose end is known.
func (r *record) hasPlace(p *process) error {
	if p.id != InitProcess && (!r.status.Alive() || r.generation != p.generation || r.sealed == p.generation) {
		return fmt.Errorf("the container ended: %w", errdefs.ErrFailedPrecondition)
	}
	return nil
}

// startFailed takes a process that never ran out of the record again.
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

// Exec runs a further process in the running container, and returns its pid.
// execID must pass CheckID, and not name another exec of this container: the
// living and the latest 128 are refused with AlreadyExists. cfg says which
// streams it has; its ids are filled in. The backend is handed the streams,
// then told EventExecAdded and EventExecStarted. After an error nothing is
// left, and no exit of this exec is told of.
func (ctr *Container) Exec(ctx context.Context, execID string, spec *specs.Process, cfg StdioConfig) (pid int, err error) {
	p, err := ctr.exec(ctx, execID, spec, cfg)
	if err != nil {
		return 0, err
	}
	return p.pid, nil
}

func (ctr *Container) exec(ctx context.Context, execID string, spec *specs.Process, cfg StdioConfig) (_ *process, err error) {
	p, err := ctr.beginExec(ctx, execID, spec, cfg)
	if err != nil {
		return nil, err
	}
	var u undo
	err = errAbandoned
	defer func() {
		if err != nil {
			if errdefs.IsUnknown(err) && ctr.Status() != StatusRunning {
				// It was paused or ended in between, for which OCI runtimes have words only.
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
	if err := ctr.rec.hasPlace(p); err != nil {
		return err
	}
	return ctr.emit(p, Event{Type: EventExecAdded, ProcessID: p.id, Generation: p.generation, Time: time.Now()})
}

func (ctr *Container) beginExec(ctx context.Context, execID string, spec *specs.Process, cfg StdioConfig) (*process, error) {
	if err := checkExecID(ctr.id, execID); err != nil {
		return nil, err
	}
	if spec == nil || len(spec.Args) == 0 {
		return nil, fmt.Errorf("exec %q in container %q has no arguments: %w", execID, ctr.id, errdefs.ErrInvalidArgument)
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
