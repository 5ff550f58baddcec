package libcontainerd

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// DefaultGrace is what a process has between the stop signal and SIGKILL where
// nothing else is said.
const DefaultGrace = 10 * time.Second

// StopOptions say how a container is stopped.
type StopOptions struct {
	// Signal asks the init process to end; 0 for SIGTERM.
	Signal syscall.Signal
	// Grace is how long it has for that before all is killed: 0 for
	// DefaultGrace, negative for none.
	Grace time.Duration
}

// Stop ends the container and returns its exit, once the backend has taken it:
// the stop signal, and after the grace SIGKILL to all its processes. Several
// callers get the same exit, also one that comes after the end; a start after
// that is none of theirs. A paused container is resumed once it has the signal,
// since frozen processes follow none.
//
// FailedPrecondition for a container that never ran, or is just starting. When
// ctx ends, Stop gives up, and what was sent was sent.
func (ctr *Container) Stop(ctx context.Context, o StopOptions) (Exit, error) {
	if o.Signal < 0 {
		return Exit{}, fmt.Errorf("cannot stop container %q by signal %d: %w", ctr.id, int(o.Signal), errdefs.ErrInvalidArgument)
	}
	p, err := ctr.stoppable()
	if err != nil {
		return Exit{}, err
	}
	if err := ctr.askToEnd(ctx, p, o); err != nil {
		return Exit{}, ctr.failed("stop", err)
	}
	if err := ctr.kill9(ctx, p); err != nil {
		return Exit{}, ctr.failed("stop", err)
	}
	return p.result()
}

// stoppable returns the init process that runs, or ran last.
func (ctr *Container) stoppable() (*process, error) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if err := ctr.rec.allow("stop", StatusCreated, StatusRunning, StatusPausing, StatusPaused, StatusResuming, StatusStopped); err != nil {
		return nil, err
	}
	return ctr.rec.find("stop", InitProcess)
}

// askToEnd sends the stop signal and waits for the end, for the grace at most.
func (ctr *Container) askToEnd(ctx context.Context, p *process, o StopOptions) error {
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
	if err := ctr.signalToEnd(ctx, p, sig, false); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	_ = ctr.thawUntil(waiting, p) // that it has not ended is what SIGKILL is for
	return nil
}

// kill9 kills p, with an init process the whole container, and waits until the
// exit was taken. A container that is paused, or pauses now, is resumed: in
// control groups of version 1 the frozen don't follow even SIGKILL.
func (ctr *Container) kill9(ctx context.Context, p *process) error {
	if all := p.id == InitProcess; !p.hasEnded() {
		if err := ctr.signalToEnd(ctx, p, syscall.SIGKILL, all); err != nil {
			return err
		}
		if all {
			if err := ctr.thawUntil(ctx, p); err != nil {
				return err
			}
		}
	}
	return p.awaitTaken(ctx)
}

// signalToEnd sends a signal that p is to end by. Where a paused container takes
// none, as on gVisor below containerd, it is resumed before the signal and not
// after it. A signal that failed since p had just ended is no error, whatever the
// daemon says of it.
func (ctr *Container) signalToEnd(ctx context.Context, p *process, sig syscall.Signal, all bool) error {
	kill := func() error { return ignoreNotFound(ctr.client.daemon.Kill(ctx, ctr.id, p.id, sig, all)) }
	err := kill()
	if errdefs.IsUnknown(err) && p.id == InitProcess {
		ctr.thawOnce(ctx, p)
		err = kill()
	}
	if errdefs.IsUnknown(err) && endsWithin(p.live, ctr.client.options.execGrace) {
		return nil
	}
	return err
}

// thawOnce resumes a container that is paused, and waits for the pause or resume
// that is under way.
func (ctr *Container) thawOnce(ctx context.Context, init *process) {
	for {
		status, moved := ctr.watchStatus()
		if status != StatusPausing && status != StatusResuming {
			_ = ctr.Resume(ctx) // the signal tells whether that was enough
			return
		}
		select {
		case <-moved:
		case <-init.live.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// hasEnded tells that p's exit is known.
func (p *process) hasEnded() bool {
	p.container.mu.Lock()
	defer p.container.mu.Unlock()
	return p.state == processEnded
}

// awaitTaken waits until p's exit was taken. The error is that of ctx, or
// Unavailable when the client has shut down.
func (p *process) awaitTaken(ctx context.Context) error {
	select {
	case <-p.taken:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("it was sent a signal, and has not ended: %w", context.Cause(ctx))
	case <-p.container.client.hard.Done():
		return fmt.Errorf("the client is shutting down: %w", errdefs.ErrUnavailable)
	}
}
