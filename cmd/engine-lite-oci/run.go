package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/ocilog"
)

// runDetached creates and starts a container. The pid file comes last.
func (o *options) runDetached(ctx context.Context, id string, c createFlags) (err error) {
	s, err := o.beginCreate(ctx, id, &c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	_, err = s.launch(c)
	return err
}

// launch creates and starts a container. After an error it has removed the container.
func (s *session) launch(c createFlags) (pid int, err error) {
	if pid, err = s.make(c); err != nil {
		return 0, err
	}
	if err = s.act(ocilog.Start, "start", s.id); err == nil && c.pidFile != "" {
		err = writePidFile(c.pidFile, pid)
	}
	if err != nil {
		return 0, errors.Join(err, s.remove(true))
	}
	return pid, nil
}

// runToEnd creates and starts a container, sends the signals that it gets on to it,
// and waits for its end. It returns an exitError if the exit code isn't 0.
func (o *options) runToEnd(ctx context.Context, id string, c createFlags, keep bool) error {
	// The container's process becomes a child of this process when the runtime ends.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	s, err := o.beginCreate(ctx, id, &c)
	if err != nil {
		return err
	}
	pid, err := s.launch(c)
	if err := errors.Join(err, s.end()); err != nil {
		return err
	}
	status, err := waitFor(pid, signals)
	if err != nil {
		return err
	}
	if err := o.afterRun(ctx, id, pid, status, keep); err != nil {
		return err
	}
	if code := exitCode(status); code != 0 {
		return exitError(code)
	}
	return nil
}

// waitFor waits for the end of a child, and sends it the signals that come until then.
func waitFor(pid int, signals <-chan os.Signal) (syscall.WaitStatus, error) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	joined := make(chan struct{})
	go func() { // ends with the process
		defer close(joined)
		for {
			select {
			case sig := <-signals:
				_ = process.Signal(sig) // fails only where it has ended
			case <-ended:
				return
			}
		}
	}()
	state, err := process.Wait()
	close(ended)
	<-joined
	if err != nil {
		return 0, fmt.Errorf("cannot wait for the container: %w", err)
	}
	status, _ := state.Sys().(syscall.WaitStatus)
	return status, nil
}

// afterRun notes the exit and deletes the container, unless another command has
// deleted it.
func (o *options) afterRun(
	ctx context.Context, id string, pid int, status syscall.WaitStatus, keep bool,
) (err error) {
	s, err := o.begin(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	if s.log == nil || s.log.State.Process.Pid != pid {
		return nil
	}
	raw := uint32(status)
	if err := s.note(ocilog.Line{Action: ocilog.Exit, Step: ocilog.Done, Status: &raw}); err != nil || keep {
		return err
	}
	return s.remove(false)
}

func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
