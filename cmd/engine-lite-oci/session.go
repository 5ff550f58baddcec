package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/spool"
	"github.com/engine-lite/engine-lite/keeper"
)

const (
	// lockWait bounds how long another command may be at work on the container.
	lockWait = time.Minute
	// holdWait bounds what the keeper may take: no container waits for it.
	holdWait = 2 * time.Second
)

// session is the work on one container, whose log it has.
type session struct {
	*options
	id      string
	log     *spool.Log // nil for a container that isn't known here
	runtime ociRuntime
}

// begin takes the container's log and finishes what a killed command has left.
// A container that isn't known here is the default runtime's.
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

func (o *options) openLog(ctx context.Context, id string, create bool) (*spool.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	return spool.Open(ctx, o.spoolDir(), spool.Key(o.root, id), create)
}

// end lets the engine read what was done.
func (s *session) end() error {
	if s.log == nil {
		return nil
	}
	err := s.log.Close()
	s.log = nil
	spool.Wake(s.spoolDir())
	return err
}

// note appends a line to the log, where there is one.
func (s *session) note(l spool.Line) error {
	if s.log == nil {
		return nil
	}
	between(l.Action + " " + string(l.Step))
	err := s.log.Append(l)
	between(l.Action + " " + string(l.Step) + " noted")
	return err
}

// act has the runtime do one action, whose beginning and end go into the log.
func (s *session) act(action string, args ...string) error {
	run := ""
	if s.log != nil {
		run = s.log.State.Container.Run
	}
	if err := s.note(spool.Line{Action: action, Step: spool.Begun}); err != nil {
		return err
	}
	if err := s.runtime.do(run, args...); err != nil {
		return errors.Join(err, s.note(spool.Line{Action: action, Step: spool.Failed}))
	}
	return s.note(spool.Line{Action: action, Step: spool.Done})
}

// created notes that there is a container, and has its exit kept from here on.
func (s *session) created(pid int, recovered bool) error {
	start, err := keeper.StartTime(pid)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	p := spool.Process{Pid: pid, Start: start}
	s.hold(p)
	return s.note(spool.Line{Action: spool.Create, Step: spool.Done, Process: &p, Recovered: recovered})
}

// hold gives the container's process to the keeper, which tells the engine how it
// ended, also one that isn't up yet. Without a keeper only an engine that is up
// can know.
func (s *session) hold(p spool.Process) {
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
	_ = k.Hold(ctx, spool.Held(s.log.State.Container.Run), keeper.Process, pidfd, nil, keeper.HoldOptions{})
}

// gone notes the end of the container, and of what is kept of it. Its name is free then.
func (s *session) gone(l spool.Line) error {
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

// forget removes what there is of a creation that came to nothing.
func (s *session) forget() error {
	if err := s.removePidFile(); err != nil {
		return err
	}
	return s.log.Discard()
}

func (s *session) removePidFile() error {
	err := os.Remove(spool.PidFile(s.spoolDir(), s.log.State.Container.Run))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
