package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/keeper"
)

const (
	// leftoverGrace is how long a runtime may work on after its command was killed.
	leftoverGrace = 30 * time.Second
	leftoverPause = 10 * time.Millisecond
)

// settle completes the log if the last command was killed: it asks the runtime for the
// state of the container. If the container does not exist, settle closes the log, and
// s.log is nil afterwards.
func (s *session) settle(ctx context.Context) error {
	state := &s.log.State
	switch {
	case state.Container.Run == "":
		return errors.Join(s.log.Discard(), s.end())
	case state.Destroyed:
		return errors.Join(s.removePidFile(), s.log.Retire(), s.end())
	case state.Pending == "":
		return nil
	}
	if err := s.awaitLeftovers(ctx); err != nil {
		return err
	}
	there, err := s.recorded().state(s.id)
	switch {
	case errdefs.IsNotFound(err) && state.Created:
		return errors.Join(s.gone(ocilog.Line{Action: ocilog.Destroy, Step: ocilog.Done, Recovered: true}), s.end())
	case errdefs.IsNotFound(err):
		return errors.Join(s.abandon(), s.end())
	case err != nil:
		return err
	}
	if state.Pending == ocilog.Create {
		return s.settleCreate(there)
	}
	return s.note(ocilog.Line{Action: state.Pending, Step: outcome(state.Pending, there.Status), Recovered: true})
}

// settleCreate notes a creation that a killed command has not noted. A container
// without a process can only be deleted.
func (s *session) settleCreate(there runtimeState) error {
	pid, err := readPid(ocilog.PidFile(s.logDir(), s.log.State.Container.Run))
	if err != nil {
		pid = there.Pid
	}
	if pid <= 0 {
		return nil
	}
	if err := s.created(pid, true); err != nil {
		return err
	}
	return s.removePidFile()
}

// outcome returns the step that an action has reached, by the container's status.
func outcome(action, status string) ocilog.Step {
	done := false
	switch action {
	case ocilog.Start:
		done = status != "created" && status != "creating"
	case ocilog.Pause:
		done = status == "paused"
	case ocilog.Unpause:
		done = status != "paused"
	}
	if done {
		return ocilog.Done
	}
	return ocilog.Failed
}

// abandon removes all that is left of a creation that never succeeded.
func (s *session) abandon() error {
	ctx, cancel := context.WithTimeout(context.Background(), holdWait)
	defer cancel()
	if k, err := keeper.Dial(ctx, keeperSocket(s.run)); err == nil { // without a keeper nothing is held
		_ = k.Release(ctx, ocilog.Held(s.log.State.Container.Run), "") // else the next engine releases it
		_ = k.Close()
	}
	return s.forget()
}

// awaitLeftovers waits for the runtimes of killed commands: only then the state of the
// container is final. It kills a runtime that takes longer than leftoverGrace.
func (s *session) awaitLeftovers(ctx context.Context) error {
	giveUp := time.Now().Add(leftoverGrace)
	for {
		pids := s.leftovers()
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(giveUp) {
			for _, pid := range pids {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
					return err
				}
			}
			giveUp = time.Now().Add(leftoverGrace)
		}
		if err := retry.Sleep(ctx, leftoverPause); err != nil {
			return err
		}
	}
}

// leftovers returns the processes that have the container's mark in their environment,
// without the container's own process: crun's copy of itself, which waits for the
// start, has the mark too.
func (s *session) leftovers() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	own := s.log.State.Process.Pid
	if pid, err := readPid(ocilog.PidFile(s.logDir(), s.log.State.Container.Run)); err == nil {
		own = pid
	}
	mark := []byte(runMark + s.log.State.Container.Run + "\x00")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == own || pid == os.Getpid() {
			continue
		}
		if env, err := os.ReadFile("/proc/" + e.Name() + "/environ"); err == nil && bytes.Contains(env, mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}
