package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process whose end is awaited.
type process struct {
	fd    int // a pidfd
	ended <-chan moment
	done  <-chan struct{} // closed when the thread has stopped waiting
}

// watchProcess waits for a process's end in a thread of its own, which only the kernel has
// to wake, until the process has ended or half a minute is over. The caller closes the
// result, which kills the process.
func watchProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	ended, ready, done := make(chan moment, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		close(ready)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
			at := time.Now()
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err == nil && n == 0 {
				err = errors.New("a killed process has not ended after 30 s")
			}
			ended <- moment{at, err}
			return
		}
	}()
	<-ready
	return &process{fd, ended, done}, nil
}

func (p *process) kill() error { return unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0) }

func (p *process) close() {
	_ = p.kill() // unless it has ended
	<-p.done
	_ = unix.Close(p.fd)
}
