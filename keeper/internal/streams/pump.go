// Package streams has the streams that the keeper holds (Registry), and moves those that no connection has taken
// into their raw files (Pump).
package streams

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

const (
	pumpStep    = 1 << 20                // bytes of one splice at most: a whole pipe
	pumpRecheck = 100 * time.Millisecond // between looks at a stream that could not be moved
)

// Pump moves the streams that no connection has into their raw files. One goroutine calls Run. A slow disk blocks
// it in splice(2), so it takes a thread of its own then. Nobody waits for the pump but the connection that takes or
// releases the stream which the pump is moving.
type Pump struct {
	Streams *Registry
	epoll   int
	wake    int // an eventfd: readable once the pump is to stop
	parked  map[*Stream]bool
}

// NewPump makes a pump and its registry, which holds at most room descriptors. The caller closes the pump.
func NewPump(room int) (*Pump, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make the pump: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("cannot make the pump: %w", err)
	}
	p := &Pump{Streams: NewRegistry(epoll, room), epoll: epoll, wake: wake, parked: make(map[*Stream]bool)}
	woken := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &woken); err != nil {
		p.Close()
		return nil, fmt.Errorf("cannot make the pump: %w", err)
	}
	return p, nil
}

// Run pumps until Stop is called.
func (p *Pump) Run() error {
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

// timeout returns how many milliseconds to wait for events: until the next look at the parked streams, or for ever
// (-1) if there are none.
func (p *Pump) timeout(next time.Time) int {
	if len(p.parked) == 0 {
		return -1
	}
	return int(max(0, time.Until(next)+time.Millisecond-1) / time.Millisecond)
}

// move does one step with the stream behind fd; if expected is given, only with that one.
func (p *Pump) move(fd int, expected *Stream) {
	s := p.Streams.claim(fd, expected)
	if s == nil {
		return
	}
	moved := moveOnce(s)
	if !p.Streams.yield(s, moved) {
		p.parked[s] = true
	}
}

// Stop makes Run return.
func (p *Pump) Stop() error {
	_, err := unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}

// Close closes the pump's own descriptors. Run has returned before.
func (p *Pump) Close() { fdpass.Close([]int{p.epoll, p.wake}) }

// claim begins a step with the stream behind fd. It returns nil if the stream is gone or replaced, or has an owner.
func (g *Registry) claim(fd int, expected *Stream) *Stream {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.byFD[fd]
	if !ok || s.owner != nil || expected != nil && s != expected {
		return nil
	}
	s.step = make(chan struct{})
	return s
}

// yield ends a step. It returns false if the pump shall park the stream and look at it again later: nothing could
// be moved, and an event would come at once and say the same.
func (g *Registry) yield(s *Stream, moved bool) bool {
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

// moveOnce splices the FIFO's content to the end of the raw file, as far as the bound allows. It returns false if
// waiting for more input is of no use: the bound is reached, the disk refuses, or a FIFO that is not open for
// writing has no writer.
func moveOnce(s *Stream) bool {
	var stat unix.Stat_t
	if err := unix.Fstat(s.raw, &stat); err != nil {
		return false
	}
	room := s.bound - stat.Blocks*512 // a block of st_blocks has 512 bytes on every file system (stat(2))
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
