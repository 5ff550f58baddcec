package core

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// SignalAll sends a signal to all processes of a container. Those of one that has its own pid namespace end with its
// init process (pid_namespaces(7)), so that killing them takes no OCI runtime.
func (p *Process) signalAll(ctx context.Context, signal uint32) error {
	pid, start, ok := p.identity()
	if !ok {
		return p.noProcess()
	}
	if signal == proc.KillSignal && !p.task.record.HostPid && start != 0 {
		return p.task.kill(pid, start)
	}
	err := p.task.record.Runtime.SignalAll(ctx, p.task.target(), int(signal))
	if err != nil && !proc.Alive(pid, start) {
		return p.gone()
	}
	return err
}

func (p *Process) gone() error { return fmt.Errorf("%s has ended: %w", p, errdefs.ErrNotFound) }

// noProcess is the error of a request that needs a living process.
func (p *Process) noProcess() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == stopped || p.pid != 0 {
		return p.gone()
	}
	return p.wrongStatusLocked("signal")
}

// signal sends a signal to a process. NotFound for one that has ended, FailedPrecondition for an exec that is frozen
// together with its own kernel.
func (p *Process) signal(ctx context.Context, signal uint32) error {
	pid, start, ok := p.identity()
	if !ok || start == 0 {
		return p.noProcess()
	}
	switch {
	case signal != 0 && statefile.Exists(p.file(ociruntime.SandboxPidFile)):
		return p.signalInner(ctx, pid, start, signal)
	case signal == proc.KillSignal && p.exec == "":
		return p.task.kill(pid, start)
	}
	return proc.Signal(pid, start, signal)
}

// signalInner sends a signal to an exec by its pid inside of the sandbox. The OCI runtime's message does not say
// whether the exec has ended or cannot be signalled. The end of the waiter, which has this pid and start time, says
// it. With pid 0 no waiter is known, and the exec counts as ended.
func (p *Process) signalInner(ctx context.Context, pid int, start uint64, signal uint32) error {
	inner, err := statefile.ReadPid(p.file(ociruntime.SandboxPidFile))
	if err != nil {
		return err
	}
	err = p.task.record.Runtime.SignalInSandbox(ctx, p.task.c.id, p.dir, inner, int(signal))
	switch {
	case err == nil:
		return nil
	case p.task.isPaused():
		return fmt.Errorf("cannot signal %s while its container is paused: %v: %w",
			p, err, errdefs.ErrFailedPrecondition)
	}
	bounded, cancel := context.WithTimeout(ctx, waiterBound)
	defer cancel()
	if pid != 0 {
		if _, ended := proc.AwaitEnd(bounded, pid, start); ended != nil && !errdefs.IsNotFound(ended) {
			return err
		}
	}
	return p.gone()
}

// waiterBound is how long a waiter may take to end after its exec.
const waiterBound = 10 * time.Second

// kill kills an init process, and with it all that is in its pid namespace. The waiters of execs go first: the exit
// of one whose sandbox is gone tells nothing of the exec.
func (t *containerTask) kill(pid int, start uint64) error {
	for _, p := range t.processes() {
		waiter, began, ok := p.identity()
		if !ok || began == 0 || !statefile.Exists(p.file(ociruntime.SandboxPidFile)) {
			continue
		}
		if err := proc.Signal(waiter, began, proc.KillSignal); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return proc.Signal(pid, start, proc.KillSignal)
}

// Kill sends a signal to a process, or with all to all of its container's if it is the init process; 0 only asks
// whether it is there. NotFound for a process that has ended. It doesn't wait for other operations.
func (p *Process) Kill(ctx context.Context, signal uint32, all bool) error {
	if all && p.exec == "" {
		return p.signalAll(ctx, signal)
	}
	return p.signal(ctx, signal)
}
