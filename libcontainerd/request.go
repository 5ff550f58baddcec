package libcontainerd

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// lastSignal is SIGRTMAX, the largest signal of Linux, see signal(7).
const lastSignal = 64

// Signal sends sig, 1 to 64, to a process that runs, and doesn't wait for an exit. SIGKILL to the init process of a
// paused container resumes the container, so that it dies at once with every daemon; EventResumed may be delivered
// before the exit then. Other signals, and signals to execs, take effect at the latest when the container is resumed.
//
// Errors: InvalidArgument for another number; FailedPrecondition if the container or the process doesn't run;
// NotFound for an exec that the container doesn't have, or if the process has just exited. If a container that was sent
// SIGKILL could not be resumed, and has not exited within WithExecGrace, the error is that of the resume.
func (ctr *Container) Signal(ctx context.Context, process string, sig syscall.Signal) error {
	return ctr.kill(ctx, process, sig, false)
}

// KillAll sends sig, 1 to 64, to all processes of the container, as Signal does to the init process. Errors are those
// of Signal.
func (ctr *Container) KillAll(ctx context.Context, sig syscall.Signal) error {
	return ctr.kill(ctx, InitProcess, sig, true)
}

func (ctr *Container) kill(ctx context.Context, process string, sig syscall.Signal, all bool) error {
	if sig <= 0 || sig > lastSignal {
		return fmt.Errorf("cannot send signal %d to container %q: %w", int(sig), ctr.id, errdefs.ErrInvalidArgument)
	}
	p, err := ctr.living("signal", process)
	if err != nil {
		return err
	}
	if sig == syscall.SIGKILL && process == InitProcess {
		return ctr.failed("kill", ctr.killThawed(ctx, p, all))
	}
	return ctr.failed("signal", ctr.client.daemon.Kill(ctx, ctr.id, process, sig, all))
}

// Resize sets the size of a process's terminal, in characters. Errors are those of Signal, FailedPrecondition for a
// process without a terminal, and the daemon's.
func (ctr *Container) Resize(ctx context.Context, process string, width, height uint32) error {
	p, err := ctr.living("resize", process)
	if err != nil {
		return err
	}
	if !p.config.Terminal {
		return fmt.Errorf("cannot resize process %q of container %q: it has no terminal: %w",
			process, ctr.id, errdefs.ErrFailedPrecondition)
	}
	return ctr.failed("resize", ctr.client.daemon.Resize(ctx, ctr.id, process, width, height))
}

// CloseStdin closes a process's stdin. It may be called as soon as Start or Exec was called: the close then takes
// effect when the process has opened its stdin, see Streams.Stdin. CloseStdin does nothing for a process without a
// stdin, or if stdin is closed already.
//
// Errors: NotFound for an exec that the container doesn't have; FailedPrecondition for the init process of a
// container that was not started since it was created or restored.
func (ctr *Container) CloseStdin(process string) error {
	ctr.mu.Lock()
	p, err := ctr.rec.find("close stdin of", process)
	if err != nil {
		ctr.mu.Unlock()
		return err
	}
	p.stdinCloseAsked = true
	streams := p.streams
	ctr.mu.Unlock()
	if streams == nil || streams.Stdin() == nil {
		return nil
	}
	return ctr.failed("close stdin of", streams.Stdin().Close())
}

// Pause freezes all processes of a running container, and returns when they are frozen and the backend has taken
// EventPaused. So a callback of the backend must not call Pause for its own container. The error is FailedPrecondition
// in any other status. It wraps ErrNotTaken if the container is paused, and ctx ended or the client shut down before
// the backend had taken the event.
func (ctr *Container) Pause(ctx context.Context) error {
	taken, err := ctr.freeze("pause", freezing{StatusRunning, StatusPausing, StatusPaused, EventPaused},
		func() error { return ctr.client.daemon.Pause(ctx, ctr.id) })
	if err != nil {
		return err
	}
	return ctr.awaitFreeze(ctx, "paused", taken)
}

// Resume lets the processes of a paused container run again, and returns when the backend has taken EventResumed.
// Errors are those of Pause.
func (ctr *Container) Resume(ctx context.Context) error {
	taken, err := ctr.thaw(ctx)
	if err != nil {
		return err
	}
	return ctr.awaitFreeze(ctx, "resumed", taken)
}

// thaw is Resume that waits for nobody.
func (ctr *Container) thaw(ctx context.Context) (taken <-chan struct{}, err error) {
	return ctr.freeze("resume", freezing{StatusPaused, StatusResuming, StatusRunning, EventResumed},
		func() error { return ctr.client.daemon.Resume(ctx, ctr.id) })
}

func (ctr *Container) awaitFreeze(ctx context.Context, done string, taken <-chan struct{}) error {
	if taken == nil {
		return nil // it was done, and then the container exited
	}
	if err := ctr.awaitTaken(ctx, taken); err != nil {
		return fmt.Errorf("container %q is %s: %w", ctr.id, done, err)
	}
	return nil
}

// freezing is a pause or a resume: the statuses before, during and after it, and its event.
type freezing struct {
	from, during, to Status
	event            EventType
}

// freeze pauses or resumes. The channel is closed once the backend has taken the event; nil if the container exited
// afterwards.
func (ctr *Container) freeze(action string, f freezing, call func() error) (taken <-chan struct{}, err error) {
	ctr.mu.Lock()
	if err := ctr.rec.allow(action, f.from); err != nil {
		ctr.mu.Unlock()
		return nil, err
	}
	ctr.rec.transition(f.during)
	init := ctr.rec.init
	ctr.mu.Unlock()

	err = call()

	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if ctr.rec.init != init || ctr.rec.status != f.during {
		return nil, ctr.failed(action, err)
	}
	if err != nil {
		ctr.rec.transition(f.from)
		return nil, ctr.failed(action, err)
	}
	ctr.rec.transition(f.to)
	taken, err = ctr.emitAwaited(init, Event{Type: f.event, ProcessID: InitProcess, Pid: init.pid,
		Generation: init.generation, Time: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("container %q is %v: %w: %w", ctr.id, f.to, ErrNotTaken, err)
	}
	return taken, nil
}

// Pids returns the pids of the container's processes, in the daemon's pid namespace. The error is
// FailedPrecondition if the container doesn't run.
func (ctr *Container) Pids(ctx context.Context) ([]int, error) {
	if _, err := ctr.living("list the processes of", InitProcess); err != nil {
		return nil, err
	}
	pids, err := ctr.client.daemon.Pids(ctx, ctr.id)
	return pids, ctr.failed("list the processes of", err)
}

// Processes returns the container's processes with their command lines. It leaves out processes that end meanwhile,
// and those that the host's kernel doesn't show, such as the processes inside of a virtual machine. The error is
// FailedPrecondition if the container doesn't run.
func (ctr *Container) Processes(ctx context.Context) ([]Process, error) {
	if _, err := ctr.living("list the processes of", InitProcess); err != nil {
		return nil, err
	}
	all, err := ctr.client.daemon.Processes(ctx, ctr.id)
	return all, ctr.failed("list the processes of", err)
}

// Stats reads the counters of the container's control group. The error is FailedPrecondition if the container
// doesn't run.
func (ctr *Container) Stats(ctx context.Context) (*Stats, error) {
	if _, err := ctr.living("read the statistics of", InitProcess); err != nil {
		return nil, err
	}
	stats, err := ctr.client.daemon.Stats(ctx, ctr.id)
	return stats, ctr.failed("read the statistics of", err)
}

// Update changes the limits of the container. A field of r that is nil leaves its limit as it is. Errors:
// InvalidArgument for a nil r, FailedPrecondition if the container doesn't run.
func (ctr *Container) Update(ctx context.Context, r *specs.LinuxResources) error {
	if r == nil {
		return fmt.Errorf("cannot update container %q without resources: %w", ctr.id, errdefs.ErrInvalidArgument)
	}
	if _, err := ctr.living("update", InitProcess); err != nil {
		return err
	}
	return ctr.failed("update", ctr.client.daemon.Update(ctx, ctr.id, r))
}

// failed adds the action and the container to an error; nil for nil.
func (ctr *Container) failed(action string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s container %q: %w", action, ctr.id, err)
}
