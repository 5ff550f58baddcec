package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/internal/pidfd"
)

// each calls fn for each id, also after an error.
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
	return s.act(ocilog.Start, "start", id)
}

// freeze describes the command pause or resume.
type freeze struct {
	command, short, action string
	from                   string // the only status in which the command is legal
}

var (
	pausing  = freeze{"pause", "freeze a running container", ocilog.Pause, "running"}
	resuming = freeze{"resume", "let a paused container go on", ocilog.Unpause, "paused"}
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

// demand refuses a command unless the container has the given status. Not all
// runtimes refuse what the specification forbids.
func (s *session) demand(command, status string) error {
	there, err := s.runtime.state(s.id)
	if err != nil {
		return err
	}
	if there.Status != status {
		return fmt.Errorf("cannot %s container %q while it is %s: %w",
			command, s.id, there.Status, errdefs.ErrFailedPrecondition)
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

// exitWait is how long to wait for the end of a process whose container has been
// deleted.
const exitWait = 5 * time.Second

// remove deletes the container by the runtime. If the exit is not in the log yet, it
// notes the exit status, which nobody can learn later.
func (s *session) remove(force bool) error {
	args := []string{"delete", s.id}
	if force {
		args = []string{"delete", "--force", s.id}
	}
	if s.log == nil {
		return s.runtime.do("", args...)
	}
	status := s.watchExit()
	if err := s.note(ocilog.Line{Action: ocilog.Destroy, Step: ocilog.Begun}); err != nil {
		return err
	}
	failure := s.runtime.do(s.log.State.Container.Run, args...)
	if failure != nil {
		if _, err := s.runtime.state(s.id); !errdefs.IsNotFound(err) {
			return errors.Join(failure, s.note(ocilog.Line{Action: ocilog.Destroy, Step: ocilog.Failed}))
		}
	}
	if !s.log.State.Created {
		return errors.Join(failure, s.abandon())
	}
	var err error
	if code, ok := status(); ok {
		err = s.note(ocilog.Line{Action: ocilog.Exit, Step: ocilog.Done, Status: &code})
	}
	return errors.Join(failure, err, s.gone(ocilog.Line{Action: ocilog.Destroy, Step: ocilog.Done}))
}

// watchExit opens the container's process while it exists. The returned function waits
// for the end of the process, for exitWait at most, and returns its wait status; false
// if that is unknown or is in the log.
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
