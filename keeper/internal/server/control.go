package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/procfs"
	"github.com/engine-lite/engine-lite/keeper/internal/streams"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// hangUpTick is how often a request that waits looks whether its client is gone.
const hangUpTick = 100 * time.Millisecond

func (s *session) gone() bool { return hungUp(s.conn) }

// noteServing notes that runtimed serves, if that is who asks.
func (s *session) noteServing() {
	who, err := peer(s.conn)
	if err != nil {
		return // then the client hears nothing of runtimed's start
	}
	if sid, err := unix.Getsid(int(who.Pid)); err == nil {
		s.runtimed.serves(sid)
	}
}

// describeRuntimed tells what is known of runtimed, after a wait for a start that is under way. A command line that is
// too long for an answer is left out.
func (s *session) describeRuntimed(wait bool) *wire.Runtimed {
	var r *wire.Runtimed
	if wait {
		r = s.runtimed.await(s.gone)
	} else {
		r, _, _ = s.runtimed.state()
	}
	if len(strings.Join(r.Argv, " ")) > wire.MaxWords {
		r.Argv = nil
	}
	return r
}

// replaceRuntimed gives the keeper another runtimed. What can be said about the new one before, is said before the old
// one ends.
func (s *session) replaceRuntimed(argv []string) error {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return fmt.Errorf("cannot run %q: not an absolute path: %w", argv, errdefs.ErrInvalidArgument)
	}
	if err := unix.Access(argv[0], unix.X_OK); err != nil {
		return fmt.Errorf("cannot run %s: %v: %w", argv[0], err, errdefs.ErrUnavailable)
	}
	return s.runtimed.ask(argv, s.gone)
}

// mayStop refuses to stop what holds streams or is the parent of processes other than runtimed.
func (s *session) mayStop(force bool) error {
	if force {
		return nil
	}
	if held, _ := s.streams.List(streams.ID{}); len(held) > 0 {
		return fmt.Errorf("cannot stop the keeper, which holds %s of %q: %w",
			held[0].Name, held[0].Key, errdefs.ErrFailedPrecondition)
	}
	state, _, _ := s.runtimed.state()
	all, err := children()
	if err != nil {
		return fmt.Errorf("cannot tell whether the keeper has children: %w", err)
	}
	for _, pid := range all {
		if pid != state.Pid {
			return fmt.Errorf("cannot stop the keeper, which is the parent of process %d: %w",
				pid, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// children returns the children of this process that have not ended. /proc is read as a whole, since the kernel may
// leave some out of /proc/PID/task/TID/children (proc(5)).
func children() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		parent, zombie, err := procfs.Parent(pid)
		if err == nil && parent == os.Getpid() && !zombie { // with an error the process has ended
			all = append(all, pid)
		}
	}
	return all, nil
}
