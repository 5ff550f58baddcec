package libcontainerd

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// DefaultGrace is the time between the stop signal and SIGKILL if StopOptions sets none.
const DefaultGrace = 10 * time.Second

// StopOptions are the options of Stop.
type StopOptions struct {
	// Signal is sent to the init process first, to ask it to exit. 0 is SIGTERM.
	Signal syscall.Signal
	// Grace is how long Stop waits after that before it kills the container. 0 is DefaultGrace; with a negative
	// Grace, Stop sends SIGKILL only.
	Grace time.Duration
	// AskedBefore says that the stop signal was sent already, for instance by an engine that has died since. Stop
	// then doesn't send the signal again.
	AskedBefore bool
	// Signaled, if not nil, is called after the stop signal was sent, and again after SIGKILL was sent. The process
	// may have ended by then. If Signaled returns an error, Stop returns that error.
	Signaled func(ctx context.Context, sig syscall.Signal) error
}

func (o StopOptions) signaled(ctx context.Context, sig syscall.Signal) error {
	if o.Signaled == nil {
		return nil
	}
	return o.Signaled(ctx, sig)
}

// Stop ends the container, and returns its exit after the backend has taken it. Stop sends the stop signal to the
// init process, and after the grace SIGKILL to all processes. A paused container is resumed after the signal, since
// frozen processes don't handle signals.
//
// Several callers get the same exit. If the container has stopped already, Stop returns its last exit.
//
// Errors: InvalidArgument for a negative signal; FailedPrecondition for a container that never ran, or is being
// started; Unavailable while the daemon is away; the cause of ctx; what Signaled returned. When ctx ends, Stop
// returns; signals that were sent take effect all the same.
func (ctr *Container) Stop(ctx context.Context, o StopOptions) (Exit, error) {
	if o.Signal < 0 {
		return Exit{}, fmt.Errorf("cannot stop container %q by signal %d: %w",
			ctr.id, int(o.Signal), errdefs.ErrInvalidArgument)
	}
	p, err := ctr.stoppable()
	if err != nil {
		return Exit{}, err
	}
	if err := ctr.askToExit(ctx, p, o); err != nil {
		return Exit{}, ctr.failed("stop", err)
	}
	if !p.hasEnded() {
		if err := ctr.killProcess(ctx, p); err != nil {
			return Exit{}, ctr.failed("stop", err)
		}
		if err := o.signaled(ctx, syscall.SIGKILL); err != nil {
			return Exit{}, err
		}
	}
	if err := ctr.awaitKilled(ctx, p); err != nil {
		return Exit{}, ctr.failed("stop", err)
	}
	return p.result()
}

// stoppable returns the init process that runs, or the last one that ran.
func (ctr *Container) stoppable() (*process, error) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	err := ctr.rec.allow("stop", StatusCreated, StatusRunning, StatusPausing, StatusPaused, StatusResuming,
		StatusStopped)
	if err != nil {
		return nil, err
	}
	return ctr.rec.find("stop", InitProcess)
}

// askToExit sends the stop signal, and waits for the exit for up to the grace.
func (ctr *Container) askToExit(ctx context.Context, p *process, o StopOptions) error {
	grace := o.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	if grace < 0 || p.hasEnded() {
		return nil
	}
	sig := o.Signal
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	if !o.AskedBefore {
		if err := ignoreNotFound(ctr.signalToExit(ctx, p, sig, false)); err != nil {
			return err
		}
		if err := o.signaled(ctx, sig); err != nil {
			return err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	_ = ctr.thawUntil(waiting, p) // the caller kills a process that has not exited
	return nil
}

// killAndWait kills p, or the whole container if p is its init process, and waits until the backend has taken the
// exit.
func (ctr *Container) killAndWait(ctx context.Context, p *process) error {
	if !p.hasEnded() {
		if err := ctr.killProcess(ctx, p); err != nil {
			return err
		}
	}
	return ctr.awaitKilled(ctx, p)
}

// killProcess sends SIGKILL to p, or to the whole container if p is its init process.
func (ctr *Container) killProcess(ctx context.Context, p *process) error {
	return ignoreNotFound(ctr.signalToExit(ctx, p, syscall.SIGKILL, p.id == InitProcess))
}

// killThawed sends SIGKILL to the init process, with all to all processes, and resumes the container if it is paused,
// see awaitKilled. It is no error if the resume failed since the container has died, as it does with containerd.
func (ctr *Container) killThawed(ctx context.Context, init *process, all bool) error {
	if err := ctr.signalToExit(ctx, init, syscall.SIGKILL, all); err != nil {
		return err
	}
	err := ctr.thawOnce(ctx, init)
	if err == nil || endsWithin(init.live, ctr.client.options.execGrace) {
		return nil
	}
	return err
}

// awaitKilled waits until the backend has taken the exit of p, which was killed. A container that is paused, or is
// being paused, is resumed: the freezer of control groups version 1 holds back SIGKILL too, see
// freezer-subsystem.rst of the kernel's documentation.
func (ctr *Container) awaitKilled(ctx context.Context, p *process) error {
	if p.id == InitProcess && !p.hasEnded() {
		if err := ctr.thawUntil(ctx, p); err != nil {
			return err
		}
	}
	return p.awaitTaken(ctx)
}

// signalToExit sends a signal that makes p exit. A container whose runtime takes no signal while it is paused, such
// as gVisor's below containerd, is resumed before the signal and not after it. If the signal failed because p had
// just exited, that is no error, whatever the daemon's error is.
func (ctr *Container) signalToExit(ctx context.Context, p *process, sig syscall.Signal, all bool) error {
	kill := func() error { return ctr.client.daemon.Kill(ctx, ctr.id, p.id, sig, all) }
	err := kill()
	if errdefs.IsUnknown(err) && p.id == InitProcess {
		_ = ctr.thawOnce(ctx, p) // whether that helped shows with the signal that follows
		err = kill()
	}
	if errdefs.IsUnknown(err) && endsWithin(p.live, ctr.client.options.execGrace) {
		return nil
	}
	return err
}

// thawOnce resumes a container once, if it is paused. If a pause or resume is in progress, thawOnce waits for that
// first.
func (ctr *Container) thawOnce(ctx context.Context, init *process) error {
	for {
		status, moved := ctr.watchStatus()
		if status == StatusPaused {
			_, err := ctr.thaw(ctx)
			return err
		}
		if status != StatusPausing && status != StatusResuming {
			return nil
		}
		select {
		case <-moved:
		case <-init.live.Done():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hasEnded reports whether p's exit is known.
func (p *process) hasEnded() bool {
	p.container.mu.Lock()
	defer p.container.mu.Unlock()
	return p.state == processEnded
}

// awaitTaken waits until the backend has taken p's exit. The error is the cause of ctx, or Unavailable when the
// client has shut down.
func (p *process) awaitTaken(ctx context.Context) error {
	if err := awaitClosed(ctx, p.container.client.final, p.taken); err != nil {
		return fmt.Errorf("process %q was sent a signal, and has not ended: %w", p.id, err)
	}
	return nil
}
