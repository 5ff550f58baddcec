package keeper

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

const (
	pumpStep    = 1 << 20                // most bytes of one splice: a whole pipe
	pumpRecheck = 100 * time.Millisecond // between looks at a stream that could not be moved
)

// pump moves the streams that nobody has into their raw files. It has a thread of its own in the end (splice(2) blocks it when the disk is slow), and nothing
// that reaps or answers waits for it, except who takes or releases the very stream that it is moving.
type pump struct {
	streams *registry
	epoll   int
	wake    int // an eventfd: readable once the pump is to stop
	parked  map[*stream]bool
}

// newPump makes a pump and the registry that it works on.
func newPump(room int) (*pump, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make the pump: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("cannot make the pump: %w", err)
	}
	p := &pump{streams: newRegistry(epoll, room), epoll: epoll, wake: wake, parked: make(map[*stream]bool)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		p.close()
		return nil, fmt.Errorf("cannot make the pump: %w", err)
	}
	return p, nil
}

// run pumps until stop is called.
func (p *pump) run() error {
	events := make([]unix.EpollEvent, 64)
	next := time.Now()
	for {
		n, err := unix.EpollWait(p.epoll, events, p.timeout(next))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("the pump cannot go on: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			if int(event.Fd) == p.wake {
				return nil
			}
			p.move(int(event.Fd), nil)
		}
		if now := time.Now(); len(p.parked) > 0 && !now.Before(next) {
			next = now.Add(pumpRecheck)
			for s := range p.parked {
				delete(p.parked, s)
				p.move(s.fd, s)
			}
		}
	}
}

// timeout returns how many milliseconds to wait for events, -1 for ever: until the next look at the parked streams if there are any.
func (p *pump) timeout(next time.Time) int {
	if len(p.parked) == 0 {
		return -1
	}
	return int(max(0, time.Until(next)+time.Millisecond-1) / time.Millisecond)
}

// move does one step with the stream behind fd; if expected is given, only with that one.
func (p *pump) move(fd int, expected *stream) {
	s := p.streams.claim(fd, expected)
	if s == nil {
		return
	}
	moved := moveOnce(s)
	if !p.streams.yield(s, moved) {
		p.parked[s] = true
	}
}

// stop makes run return.
func (p *pump) stop() error {
	_, err := unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}

// close frees the pump's own descriptors. run has returned.
func (p *pump) close() { fdpass.Close([]int{p.epoll, p.wake}) }

// claim begins a step with the stream behind fd, unless it is gone, replaced, or somebody has it.
func (g *registry) claim(fd int, expected *stream) *stream {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.byFD[fd]
	if !ok || s.owner != nil || expected != nil && s != expected {
		return nil
	}
	s.step = make(chan struct{})
	return s
}

// yield ends a step. It returns false if the pump shall look at the stream again later, by itself: nothing could be moved, and
// an event would only say the same again.
func (g *registry) yield(s *stream, moved bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(s.step)
	s.step = nil
	switch {
	case s.released:
		fdpass.Close(s.fds())
		return true
	case s.owner != nil:
		return true
	default:
		return moved && g.armLocked(s) == nil
	}
}

// moveOnce splices what is in the FIFO to the end of the raw file, as far as the bound allows. It returns false if there is no point in waiting for more
// input: the bound is reached, the disk refuses, or no writer is left on a FIFO that was not opened for writing too.
func moveOnce(s *stream) bool {
	var stat unix.Stat_t
	if err := unix.Fstat(s.raw, &stat); err != nil {
		return false
	}
	room := s.bound - stat.Blocks*512 // st_blocks counts 512 bytes whatever the file system's block is (stat(2))
	if room <= 0 {
		return false
	}
	end := stat.Size
	n, err := unix.Splice(s.fd, nil, s.raw, &end, int(min(room, pumpStep)), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	if err != nil {
		return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
	}
	return n > 0
}
