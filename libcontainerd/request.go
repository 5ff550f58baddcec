package libcontainerd

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// lastSignal is SIGRTMAX, the last one that Linux has.
const lastSignal = 64

// Signal sends sig to a living process. NotFound where the daemon says that
// the process is gone already: its exit is on its way.
func (ctr *Container) Signal(ctx context.Context, process string, sig syscall.Signal) error {
	return ctr.kill(ctx, process, sig, false)
}

// KillAll sends sig to all processes of the container.
func (ctr *Container) KillAll(ctx context.Context, sig syscall.Signal) error {
	return ctr.kill(ctx, InitProcess, sig, true)
}

func (ctr *Container) kill(ctx context.Context, process string, sig syscall.Signal, all bool) error {
	if sig <= 0 || sig > lastSignal {
		return fmt.Errorf("cannot send signal %d to container %q: %w", int(sig), ctr.id, errdefs.ErrInvalidArgument)
	}
	if _, err := ctr.living("signal", process); err != nil {
		return err
	}
	return ctr.failed("signal", ctr.client.daemon.Kill(ctx, ctr.id, process, sig, all))
}

// Resize sets the size of a process's terminal, in characters.
func (ctr *Container) Resize(ctx context.Context, process string, width, height uint32) error {
	if _, err := ctr.living("resize", process); err != nil {
		return err
	}
	return ctr.failed("resize", ctr.client.daemon.Resize(ctx, ctr.id, process, width, height))
}

// CloseStdin closes the engine's end of a process's stdin. It may be called as
// soon as the process is being started; the process is told when it can be
// (Streams.Stdin). Without a stdin, or closed already, it does nothing.
func (ctr *Container) CloseStdin(process string) error {
	ctr.mu.Lock()
	p, err := ctr.rec.find("close stdin of", process)
	if err != nil {
		ctr.mu.Unlock()
		return err
	}
	p.stdinWished = true
	streams := p.streams
	ctr.mu.Unlock()
	if streams == nil || streams.Stdin() == nil {
		return nil
	}
	return ctr.failed("close stdin of", streams.Stdin().Close())
}

// Pause freezes all processes of a running container. It returns when they are
// frozen.
func (ctr *Container) Pause(ctx context.Context) error {
	return ctr.freeze("pause", freezing{StatusRunning, StatusPausing, StatusPaused, EventPaused},
		func() error { return ctr.client.daemon.Pause(ctx, ctr.id) })
}

// Resume thaws a paused container.
func (ctr *Container) Resume(ctx context.Context) error {
	return ctr.freeze("resume", freezing{StatusPaused, StatusResuming, StatusRunning, EventResumed},
		func() error { return ctr.client.daemon.Resume(ctx, ctr.id) })
}

// freezing is a pause or a resume: the statuses on its way, and the event.
type freezing struct {
	from, during, to Status
	event            EventType
}

func (ctr *Container) freeze(action string, f freezing, call func() error) error {
	ctr.mu.Lock()
	if err := ctr.rec.allow(action, f.from); err != nil {
		ctr.mu.Unlock()
		return err
	}
	ctr.rec.transition(f.during)
	init := ctr.rec.init
	ctr.mu.Unlock()

	err := call()

	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	if ctr.rec.init != init || ctr.rec.status != f.during {
		if err == nil {
			return nil // it ended just after
		}
		return ctr.failed(action, err)
	}
	if err != nil {
		ctr.rec.transition(f.from)
		return ctr.failed(action, err)
	}
	ctr.rec.transition(f.to)
	ctr.emitOrHalt(init, Event{Type: f.event, ProcessID: InitProcess, Pid: init.pid, Generation: init.generation, Time: time.Now()})
	return nil
}

// Pids are the processes of the container, in the host's numbers.
func (ctr *Container) Pids(ctx context.Context) ([]int, error) {
	if _, err := ctr.living("list the processes of", InitProcess); err != nil {
		return nil, err
	}
	pids, err := ctr.client.daemon.Pids(ctx, ctr.id)
	return pids, ctr.failed("list the processes of", err)
}

// Processes are the processes of the container with their command lines, as the
// daemon's host shows them; those that end meanwhile, or that the host doesn't show,
// are left out.
func (ctr *Container) Processes(ctx context.Context) ([]Process, error) {
	if _, err := ctr.living("list the processes of", InitProcess); err != nil {
		return nil, err
	}
	all, err := ctr.client.daemon.Processes(ctx, ctr.id)
	return all, ctr.failed("list the processes of", err)
}

// Stats are the counters of the container's control group now.
func (ctr *Container) Stats(ctx context.Context) (*Stats, error) {
	if _, err := ctr.living("read the statistics of", InitProcess); err != nil {
		return nil, err
	}
	stats, err := ctr.client.daemon.Stats(ctx, ctr.id)
	return stats, ctr.failed("read the statistics of", err)
}

// Update changes the limits of the living container; r's fields that are nil
// stay as they are.
func (ctr *Container) Update(ctx context.Context, r *specs.LinuxResources) error {
	if r == nil {
		return fmt.Errorf("cannot update container %q without resources: %w", ctr.id, errdefs.ErrInvalidArgument)
	}
	if _, err := ctr.living("update", InitProcess); err != nil {
		return err
	}
	return ctr.failed("update", ctr.client.daemon.Update(ctx, ctr.id, r))
}

// failed names action and container in an error of the daemon.
func (ctr *Container) failed(action string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s container %q: %w", action, ctr.id, err)
}
