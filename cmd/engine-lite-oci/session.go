package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/keeper"
)

const (
	// lockWait is how long to wait for another command on the same container.
	lockWait = time.Minute
	// holdWait is how long to wait for the keeper. A container starts without it, too.
	holdWait = 2 * time.Second
)

// session is one command on one container. It has the lock of the container's log.
type session struct {
	*options
	id      string
	log     *ocilog.Log // nil for a container that has no log
	runtime ociRuntime
}

// begin opens the container's log and completes it if the last command was killed. A
// container without a log belongs to the default runtime.
func (o *options) begin(ctx context.Context, id string) (*session, error) {
	if err := o.check(id); err != nil {
		return nil, err
	}
	log, err := o.openLog(ctx, id, false)
	if errdefs.IsNotFound(err) {
		r, err := o.chooseRuntime()
		return &session{options: o, id: id, runtime: r}, err
	}
	if err != nil {
		return nil, err
	}
	s := &session{options: o, id: id, log: log}
	if err := s.settle(ctx); err != nil {
		return nil, errors.Join(err, s.end())
	}
	if s.log != nil {
		s.runtime = o.runtimeAt(log.State.Container.Runtime, log.State.Container.Root)
		return s, nil
	}
	s.runtime, err = o.chooseRuntime()
	return s, err
}

func (o *options) check(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	return o.complete()
}

func (o *options) openLog(ctx context.Context, id string, create bool) (*ocilog.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	return ocilog.Open(ctx, o.logDir(), ocilog.Key(o.root, id), create)
}

// end closes the log, and tells the engine to read it.
func (s *session) end() error {
	if s.log == nil {
		return nil
	}
	err := s.log.Close()
	s.log = nil
	ocilog.Wake(s.logDir())
	return err
}

// note appends a line to the log, if the container has one.
func (s *session) note(l ocilog.Line) error {
	if s.log == nil {
		return nil
	}
	between(l.Action + " " + string(l.Step))
	err := s.log.Append(l)
	between(l.Action + " " + string(l.Step) + " noted")
	return err
}

// act does one action by the runtime. It notes the beginning and the end in the log.
func (s *session) act(action string, args ...string) error {
	run := ""
	if s.log != nil {
		run = s.log.State.Container.Run
	}
	if err := s.note(ocilog.Line{Action: action, Step: ocilog.Begun}); err != nil {
		return err
	}
	if err := s.runtime.do(run, args...); err != nil {
		return errors.Join(err, s.note(ocilog.Line{Action: action, Step: ocilog.Failed}))
	}
	return s.note(ocilog.Line{Action: action, Step: ocilog.Done})
}

// created notes that the container exists, and gives its process to the keeper.
func (s *session) created(pid int, recovered bool) error {
	start, err := keeper.StartTime(pid)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	p := ocilog.Process{Pid: pid, Start: start}
	s.hold(p)
	return s.note(ocilog.Line{Action: ocilog.Create, Step: ocilog.Done, Process: &p, Recovered: recovered})
}

// hold gives the container's process to the keeper. The keeper gives the exit status to
// the engine, also to an engine that starts later. Without a keeper only an engine that
// runs at the exit learns the status.
func (s *session) hold(p ocilog.Process) {
	pidfd, err := p.Open()
	if err != nil {
		return
	}
	defer pidfd.Close()
	ctx, cancel := context.WithTimeout(context.Background(), holdWait)
	defer cancel()
	k, err := keeper.Dial(ctx, keeperSocket(s.run))
	if err != nil {
		return
	}
	defer k.Close()
	_ = k.Hold(ctx, ocilog.Held(s.log.State.Container.Run), keeper.Process, pidfd, nil, keeper.HoldOptions{})
}

// gone notes that the container is deleted, and retires its log: its id is free then.
func (s *session) gone(l ocilog.Line) error {
	if s.log == nil {
		return nil
	}
	if err := s.note(l); err != nil {
		return err
	}
	if err := s.removePidFile(); err != nil {
		return err
	}
	between("retire")
	return s.log.Retire()
}

// forget removes the pid file and the log of a creation that has failed.
func (s *session) forget() error {
	if err := s.removePidFile(); err != nil {
		return err
	}
	return s.log.Discard()
}

func (s *session) removePidFile() error {
	err := os.Remove(ocilog.PidFile(s.logDir(), s.log.State.Container.Run))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
