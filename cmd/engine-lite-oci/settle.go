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

	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/internal/spool"
	"github.com/engine-lite/engine-lite/keeper"
)

const (
	// leftoverGrace is how long a runtime may go on whose command was killed.
	leftoverGrace = 30 * time.Second
	leftoverPause = 10 * time.Millisecond
)

// settle finishes in the log what a killed command has left there: it asks the
// runtime how far that came. Where there is no container the session has no log
// any more.
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
		return errors.Join(s.gone(spool.Line{Action: spool.Destroy, Step: spool.Done, Recovered: true}), s.end())
	case errdefs.IsNotFound(err):
		return errors.Join(s.abandon(), s.end())
	case err != nil:
		return err
	}
	if state.Pending == spool.Create {
		return s.settleCreate(there)
	}
	return s.note(spool.Line{Action: state.Pending, Step: outcome(state.Pending, there.Status), Recovered: true})
}

// settleCreate notes the creation that a killed command has not. Without a process
// it isn't whole, and only good for being deleted.
func (s *session) settleCreate(there runtimeState) error {
	pid, err := readPid(spool.PidFile(s.spoolDir(), s.log.State.Container.Run))
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

// outcome tells from where a container stands what came of an action.
func outcome(action, status string) spool.Step {
	done := false
	switch action {
	case spool.Start:
		done = status != "created" && status != "creating"
	case spool.Pause:
		done = status == "paused"
	case spool.Unpause:
		done = status != "paused"
	}
	if done {
		return spool.Done
	}
	return spool.Failed
}

// abandon removes what there is of a creation that nobody was told of.
func (s *session) abandon() error {
	ctx, cancel := context.WithTimeout(context.Background(), holdWait)
	defer cancel()
	if k, err := keeper.Dial(ctx, keeperSocket(s.run)); err == nil { // else it is gone with all that it held
		_ = k.Release(ctx, spool.Held(s.log.State.Container.Run), "") // what stays is released by the next engine
		_ = k.Close()
	}
	return s.forget()
}

// awaitLeftovers waits for the runtimes of killed commands: what they did shows
// only then. Those that hang are killed.
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

// leftovers are the processes that bear the container's mark and are not the
// container's own: crun's copy of itself that waits for the start has it too.
func (s *session) leftovers() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	own := s.log.State.Process.Pid
	if pid, err := readPid(spool.PidFile(s.spoolDir(), s.log.State.Container.Run)); err == nil {
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
