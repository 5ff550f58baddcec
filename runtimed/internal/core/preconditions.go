package core

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/pidfd"
)

// classify gives an error of the OCI runtime the class FailedPrecondition if the init process has ended, known as an
// exit or not. Other errors, and errors that have a class, stay as they are.
func (t *containerTask) classify(err error) error {
	if err == nil || !errdefs.IsUnknown(err) || !t.init.isOver() {
		return err
	}
	return fmt.Errorf("%s has ended: %v: %w", t.init, err, errdefs.ErrFailedPrecondition)
}

// isOver reports whether a process has ended, also if nobody has reaped it yet.
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

// requireThawed refuses what a paused task cannot do: a process that joins it would freeze half way.
func (t *containerTask) requireThawed(action string) error {
	if t.isPaused() {
		return fmt.Errorf("cannot %s container %q while it is paused: %w",
			action, t.c.id, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// requireThawedGroup refuses an operation while the control group of a task is frozen that is not paused: somebody
// else has frozen it. It waits a little first, since an OCI runtime freezes a group for a moment to signal all
// processes.
func (t *containerTask) requireThawedGroup(ctx context.Context, action string) error {
	g := t.controlGroups()
	g.AwaitThawed(ctx)
	if g.IsFreezing() {
		return fmt.Errorf("cannot %s container %q while its control group is frozen: %w",
			action, t.c.id, errdefs.ErrFailedPrecondition)
	}
	return nil
}
