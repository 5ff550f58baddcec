package server

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/retry"
)

const (
	backoffMin   = 100 * time.Millisecond
	backoffMax   = 5 * time.Second
	healthyAfter = 10 * time.Second // a runtimed that ran for so long is started again after backoffMin
	endWait      = 10 * time.Second // between SIGTERM and SIGKILL
)

// supervisor keeps runtimed running.
type supervisor struct {
	argv    []string
	logPath string
	log     *log.Logger

	mu       sync.Mutex
	starting bool
	early    map[int]bool  // children that ended while starting is set: runtimed may be one of them
	pid      int           // the running child, 0 if none
	gone     chan struct{} // closed when the running child has ended
}

func newSupervisor(cfg Config) *supervisor {
	return &supervisor{argv: cfg.Runtimed, logPath: cfg.RuntimedLog, log: cfg.Log}
}

// run starts runtimed, and starts it again whenever it ends, until ctx ends. Then it ends runtimed and returns.
func (s *supervisor) run(ctx context.Context) {
	pause := retry.New(backoffMin, backoffMax)
	for ctx.Err() == nil {
		began := time.Now()
		if err := s.once(ctx); err != nil {
			s.log.Printf("runtimed: %v; starting it again", err)
		}
		pause.ResetAfter(time.Since(began), healthyAfter)
		_ = pause.Wait(ctx) // the end of ctx ends the loop
	}
}

// once starts runtimed and returns when it has ended. The end of ctx ends runtimed.
func (s *supervisor) once(ctx context.Context) error {
	pid, gone, err := s.start()
	if err != nil {
		return err
	}
	s.log.Printf("runtimed: started as process %d", pid)
	select {
	case <-gone:
		return fmt.Errorf("process %d ended", pid)
	case <-ctx.Done():
	}
	s.signal(unix.SIGTERM)
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
		s.signal(unix.SIGKILL)
		<-gone
	}
	return nil
}

// start forks runtimed in a session of its own. The reaper may see its end before we know its pid.
func (s *supervisor) start() (int, <-chan struct{}, error) {
	s.mu.Lock()
	s.starting, s.early = true, make(map[int]bool)
	s.mu.Unlock()
	pid, err := s.fork()
	s.mu.Lock()
	defer s.mu.Unlock()
	early := s.early
	s.starting, s.early = false, nil
	if err != nil {
		return 0, nil, fmt.Errorf("cannot start %s: %w", s.argv[0], err)
	}
	gone := make(chan struct{})
	if early[pid] {
		close(gone)
		return pid, gone, nil
	}
	s.pid, s.gone = pid, gone
	return pid, gone, nil
}

// fork starts the child. os/exec is not used: it would wait for the child, and only the reaper may.
func (s *supervisor) fork() (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	out := null
	if s.logPath != "" {
		if out, err = os.OpenFile(s.logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return 0, err
		}
		defer out.Close()
	}
	return syscall.ForkExec(s.argv[0], s.argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// ended is called for each child that has ended, before the child is reaped: until then no other process can have
// its pid.
func (s *supervisor) ended(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting {
		s.early[pid] = true
	}
	if s.pid != 0 && s.pid == pid {
		close(s.gone)
		s.pid = 0
	}
}

// signal sends a signal to the child, unless it has ended.
func (s *supervisor) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return
	}
	if err := unix.Kill(s.pid, sig); err != nil {
		s.log.Printf("runtimed: cannot send %v to process %d: %v", sig, s.pid, err)
	}
}
