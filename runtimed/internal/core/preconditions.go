package core

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/pidfd"
)

// classify gives what an OCI runtime refused its class, for which it has words only: FailedPrecondition where the init process has ended, whether its exit is known here
// yet or not. Other errors, and those that have a class, stay as they are.
func (t *containerTask) classify(err error) error {
	if err == nil || !errdefs.IsUnknown(err) || !t.init.isOver() {
		return err
	}
	return fmt.Errorf("%s has ended: %v: %w", t.init, err, errdefs.ErrFailedPrecondition)
}

// isOver tells whether a process has ended, also when it waits to be reaped.
func (p *Process) isOver() bool {
	pid, start, ok := p.identity()
	if !ok {
		return true
	}
	process := pidfd.Process{Pid: pid, Start: start}
	f, err := process.Open()
	if err != nil {
		return errdefs.IsNotFound(err)
	}
	defer f.Close()
	_, known := process.Status(f) // of a zombie, too, some of whose threads are still ending: OCI runtimes take it for ended
	return known || pidfd.Ended(f)
}

// requireExec refuses an exec that the container would not run now.
func (t *containerTask) requireExec(ctx context.Context) error {
	const action = "start process in"
	if err := errors.Join(t.requireRunning(action), t.requireThawed(action)); err != nil {
		return err
	}
	return t.requireThawedGroup(ctx, action)
}

// requireThawed refuses what the processes of a paused task would have to do: a process that is to join them would be frozen half way.
func (t *containerTask) requireThawed(action string) error {
	if t.isPaused() {
		return fmt.Errorf("cannot %s container %q while it is paused: %w", action, t.c.id, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// requireThawedGroup refuses what a frozen group would hold half way, though the container isn't paused: somebody else has frozen it. That of an OCI runtime that signals
// all processes passes.
func (t *containerTask) requireThawedGroup(ctx context.Context, action string) error {
	g := t.controlGroups()
	g.AwaitThawed(ctx)
	if g.IsFreezing() {
		return fmt.Errorf("cannot %s container %q while its control group is frozen: %w", action, t.c.id, errdefs.ErrFailedPrecondition)
	}
	return nil
}
