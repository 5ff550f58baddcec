package server

import (
	"context"
	"fmt"
	"log"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

const (
	backoffMin   = 100 * time.Millisecond
	backoffMax   = 5 * time.Second
	healthyAfter = 10 * time.Second // a runtimed that ran for so long is started again after backoffMin
	endWait      = 10 * time.Second // between SIGTERM and SIGKILL
	// startWait bounds how long a client's request waits for runtimed to serve.
	startWait = 3 * time.Second
	// replaceWait bounds how long a new runtimed may take until it serves; the old one takes over again after that.
	replaceWait = 30 * time.Second
	// failedStarts in a row mean that runtimed fails. Fewer can come from kills.
	failedStarts = 3
	// wrongCommandLine is runtimed's exit code for a command line that it refuses: no further start helps.
	wrongCommandLine = 2
)

// supervisor keeps runtimed running. Its run starts and ends it; nobody else does.
type supervisor struct {
	logPath  string
	log      *log.Logger
	requests chan replacement
	over     chan struct{} // closed when run has returned

	mu       sync.Mutex
	argv     []string // the command line; empty: no runtimed
	starting bool
	early    map[int]uint32 // children that ended while starting is set, with their status: runtimed may be one of them
	servers  map[int]bool   // session ids of the processes that asked for exits while starting is set, likewise
	child    *child         // the running one, nil if none
	last     *wire.End      // of the last child that has ended
	failed   int            // starts in a row that ended before they served
	changed  chan struct{}  // closed and made again when one of these has changed
}

// replacement asks for another runtimed. The result has room for the answer.
type replacement struct {
	argv   []string
	result chan error
}

func newSupervisor(cfg Config) *supervisor {
	return &supervisor{
		argv: cfg.Runtimed, logPath: cfg.RuntimedLog, log: cfg.Log, requests: make(chan replacement),
		over: make(chan struct{}), changed: make(chan struct{}),
	}
}

// run starts runtimed, and starts it again whenever it ends, until ctx ends. Then it ends runtimed and returns.
func (s *supervisor) run(ctx context.Context) {
	defer close(s.over)
	pause := retry.New(backoffMin, backoffMax)
	began, now := time.Now(), s.start(s.argv)
	var again <-chan time.Time
	for {
		select {
		case <-now.done():
			s.finish(now)
			pause.ResetAfter(time.Since(began), healthyAfter)
			now, again = nil, time.After(pause.Next())
		case <-again:
			began, now, again = time.Now(), s.start(s.argv), nil
		case r := <-s.requests:
			s.end(now)
			pause.Reset()
			began, again = time.Now(), nil
			var err error
			now, err = s.replace(ctx, r.argv)
			r.result <- err
		case <-ctx.Done():
			s.end(now)
			return
		}
	}
}

// replace starts another runtimed, where none runs. If it doesn't come to serve, the old one is started again.
func (s *supervisor) replace(ctx context.Context, argv []string) (*child, error) {
	s.mu.Lock()
	s.failed = 0
	s.mu.Unlock()
	s.log.Printf("runtimed: to be replaced by %q", argv)
	next := s.start(argv)
	timer := time.NewTimer(replaceWait)
	defer timer.Stop()
	var err error
	for err == nil {
		_, serving, changed := s.state()
		if serving {
			s.mu.Lock()
			s.argv = argv
			s.mu.Unlock()
			return next, nil
		}
		select {
		case <-changed:
		case <-next.done():
			s.finish(next)
			state, _, _ := s.state()
			err = fmt.Errorf("%s does not come up: %s, and said %q: %w",
				argv[0], state.Last.Reason, state.Last.Words, errdefs.ErrUnavailable)
		case <-timer.C:
			err = fmt.Errorf("%s does not serve after %v: %w", argv[0], replaceWait, errdefs.ErrUnavailable)
		case <-ctx.Done():
			err = fmt.Errorf("the keeper ends: %w", errdefs.ErrUnavailable)
		}
	}
	s.end(next)
	if ctx.Err() != nil {
		return nil, err
	}
	s.log.Printf("runtimed: not replaced: %v; starting the old one again", err)
	return s.start(s.argv), err
}

// ask asks run for another runtimed, and returns its answer. gone tells whether the one who asked is gone; run goes on
// all the same.
func (s *supervisor) ask(argv []string, gone func() bool) error {
	r := replacement{argv: argv, result: make(chan error, 1)}
	tick := time.NewTicker(hangUpTick)
	defer tick.Stop()
	requests := s.requests
	for {
		select {
		case requests <- r:
			requests = nil
		case err := <-r.result:
			return err
		case <-s.over:
			return fmt.Errorf("cannot replace runtimed, since the keeper ends: %w", errdefs.ErrUnavailable)
		case <-tick.C:
			if gone() {
				return fmt.Errorf("the client is gone: %w", errdefs.ErrUnavailable)
			}
		}
	}
}

// await waits until runtimed serves or fails, or for startWait, and returns its state.
func (s *supervisor) await(gone func() bool) *wire.Runtimed {
	timer, tick := time.NewTimer(startWait), time.NewTicker(hangUpTick)
	defer timer.Stop()
	defer tick.Stop()
	for {
		state, serving, changed := s.state()
		if serving || len(state.Argv) == 0 || state.Failing {
			return state
		}
		select {
		case <-changed:
			continue
		case <-tick.C:
			if !gone() {
				continue
			}
		case <-timer.C:
		case <-s.over:
		}
		return state
	}
}

// state returns what is known, whether the running child serves, and a channel that is closed at the next change.
func (s *supervisor) state() (*wire.Runtimed, bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &wire.Runtimed{Argv: s.argv, Last: s.last}
	if s.child != nil { // while it replaces another one, its command line is not the kept one yet
		r.Argv, r.Pid, r.Serving = s.child.argv, s.child.pid, s.child.serving
	}
	hopeless := s.last != nil && (s.last.Code < 0 || s.last.Code == wrongCommandLine)
	r.Failing = r.Pid == 0 && (s.failed >= failedStarts || s.failed > 0 && hopeless)
	return r, r.Serving, s.changed
}

// serves is called when a process of this session id asks for exits, as runtimed does when it serves. Others do so too.
func (s *supervisor) serves(sid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting {
		s.servers[sid] = true
	}
	if s.child != nil && s.child.pid == sid {
		s.child.serving, s.failed = true, 0
		s.change()
	}
}

// change tells those who wait. The caller holds the lock.
func (s *supervisor) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// start starts runtimed. A child that could not be started has ended at once. It returns nil without a command line.
func (s *supervisor) start(argv []string) *child {
	if len(argv) == 0 {
		return nil
	}
	s.mu.Lock()
	s.starting, s.early, s.servers = true, make(map[int]uint32), make(map[int]bool)
	s.mu.Unlock()
	c, err := fork(slices.Clone(argv), s.logPath)
	s.mu.Lock()
	defer s.mu.Unlock()
	early := s.early
	c.serving = s.servers[c.pid]
	s.starting, s.early, s.servers = false, nil, nil
	if err != nil {
		c.err = fmt.Errorf("cannot execute %s: %w", argv[0], err)
		close(c.gone)
		return c
	}
	s.log.Printf("runtimed: started as process %d", c.pid)
	if status, ended := early[c.pid]; ended {
		c.status = status
		close(c.gone)
		return c
	}
	s.child = c
	s.change()
	return c
}

// end ends a child that may have ended already.
func (s *supervisor) end(c *child) {
	if c == nil {
		return
	}
	s.signal(unix.SIGTERM)
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-c.gone:
	case <-timer.C:
		s.signal(unix.SIGKILL)
		<-c.gone
	}
	s.finish(c)
}

// finish notes how a child has ended.
func (s *supervisor) finish(c *child) {
	if c.noted {
		return
	}
	c.noted = true
	end := c.end()
	s.log.Printf("runtimed: ended: %s", end.Reason)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = end
	if !c.serving {
		s.failed++
	}
	s.change()
}

// ended is called for each child that has ended, before the child is reaped: until then no other process can have
// its pid.
func (s *supervisor) ended(pid int, status uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting {
		s.early[pid] = status
	}
	if s.child != nil && s.child.pid == pid {
		s.child.status = status
		close(s.child.gone)
		s.child = nil
	}
}

// signal sends a signal to the child, unless it has ended.
func (s *supervisor) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return
	}
	if err := unix.Kill(s.child.pid, sig); err != nil {
		s.log.Printf("runtimed: cannot send %v to process %d: %v", sig, s.child.pid, err)
	}
}
