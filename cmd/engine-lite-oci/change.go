package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/engine-lite/engine-lite/internal/pidfd"
	"github.com/engine-lite/engine-lite/internal/spool"
)

// each does something with several containers: one that fails keeps no other
// from it.
func each(ids []string, fn func(id string) error) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, fn(id))
	}
	return errors.Join(errs...)
}

func (o *options) start(ctx context.Context, id string) (err error) {
	s, err := o.begin(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	return s.act(spool.Start, "start", id)
}

// freeze is pausing or resuming.
type freeze struct {
	command, short, action string
	from                   string // the only status in which it is legal
}

var (
	pausing  = freeze{"pause", "freeze a running container", spool.Pause, "running"}
	resuming = freeze{"resume", "let a paused container go on", spool.Unpause, "paused"}
)

func (o *options) freeze(ctx context.Context, id string, f freeze) (err error) {
	s, err := o.begin(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	if err := s.demand(f.command, f.from); err != nil {
		return err
	}
	return s.act(f.action, f.command, id)
}

// demand refuses a command that isn't legal in the status the container has:
// runtimes differ in what they let pass.
func (s *session) demand(command, status string) error {
	there, err := s.runtime.state(s.id)
	if err != nil {
		return err
	}
	if there.Status != status {
		return fmt.Errorf("cannot %s container %q while it is %s: %w", command, s.id, there.Status, errdefs.ErrFailedPrecondition)
	}
	return nil
}

func (o *options) delete(ctx context.Context, id string, force bool) (err error) {
	s, err := o.begin(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	if !force {
		if err := s.demand("delete", "stopped"); err != nil {
			return err
		}
	}
	return s.remove(force)
}

// exitWait bounds how long a killed process may take to be gone after its
// container.
const exitWait = 5 * time.Second

// remove has the runtime delete the container, and notes how it ended where this
// is the last chance to know.
func (s *session) remove(force bool) error {
	args := []string{"delete", s.id}
	if force {
		args = []string{"delete", "--force", s.id}
	}
	if s.log == nil {
		return s.runtime.do("", args...)
	}
	status := s.watchExit()
	if err := s.note(spool.Line{Action: spool.Destroy, Step: spool.Begun}); err != nil {
		return err
	}
	failure := s.runtime.do(s.log.State.Container.Run, args...)
	if failure != nil {
		if _, err := s.runtime.state(s.id); !errdefs.IsNotFound(err) {
			return errors.Join(failure, s.note(spool.Line{Action: spool.Destroy, Step: spool.Failed}))
		}
	}
	if !s.log.State.Created {
		return errors.Join(failure, s.abandon())
	}
	var err error
	if code, ok := status(); ok {
		err = s.note(spool.Line{Action: spool.Exit, Step: spool.Done, Status: &code})
	}
	return errors.Join(failure, err, s.gone(spool.Line{Action: spool.Destroy, Step: spool.Done}))
}

// watchExit opens the container's process as long as there is one; the function
// tells how it ended, if anybody can.
func (s *session) watchExit() func() (uint32, bool) {
	unknown := func() (uint32, bool) { return 0, false }
	state := &s.log.State
	if !state.Created || state.Exited {
		return unknown
	}
	handle, err := state.Process.Open()
	if err != nil {
		return unknown
	}
	return func() (uint32, bool) {
		defer handle.Close()
		ctx, cancel := context.WithTimeout(context.Background(), exitWait)
		defer cancel()
		if pidfd.Await(ctx, handle) != nil {
			return 0, false
		}
		return state.Process.Status(handle)
	}
}
