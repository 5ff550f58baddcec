package keeper

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

const (
	settleWait = 10 * time.Second // for a step of the pump that a disk holds up
	listBatch  = 128              // streams in one answer: at some 350 bytes each they fit into it
)

// streamID names a held stream.
type streamID struct{ key, name string }

func (id streamID) String() string { return fmt.Sprintf("%s of %q", id.name, id.key) }

func (id streamID) compare(other streamID) int {
	return cmp.Or(strings.Compare(id.key, other.key), strings.Compare(id.name, other.name))
}

// stream is one held stream. It owns its descriptors; after hold only the registry's mu guards the fields that change.
type stream struct {
	id      streamID
	fd, raw int // raw is -1 where there is no raw file
	bound   int64
	pumped  bool // a FIFO that is moved into the raw file while nobody has it

	owner    any           // the connection that has it, or nil
	step     chan struct{} // closed at the end of the pump's running step; nil while there is none
	released bool          // no longer in the registry; whoever ends the step closes the descriptors
}

// registry holds the streams. Its epoll instance knows every pumped stream that nobody has, one-shot, so that each event is one step.
type registry struct {
	epoll int
	room  int // descriptors that may be held

	mu      sync.Mutex
	streams map[streamID]*stream
	byFD    map[int]*stream
	used    int // descriptors held
}

func newRegistry(epoll, room int) *registry {
	return &registry{epoll: epoll, room: room, streams: make(map[streamID]*stream), byFD: make(map[int]*stream)}
}

// hold adds a stream and takes its descriptors over, also in case of an error.
func (g *registry) hold(s *stream) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.admitLocked(s)
	if err == nil {
		g.streams[s.id], g.byFD[s.fd] = s, s
		g.used += len(s.fds())
		if s.owner == nil {
			if err = g.armLocked(s); err != nil {
				g.dropLocked(s)
			}
		}
	}
	if err != nil {
		fdpass.Close(s.fds())
	}
	return err
}

func (g *registry) admitLocked(s *stream) error {
	if _, ok := g.streams[s.id]; ok {
		return fmt.Errorf("cannot hold %v, which is held: %w", s.id, errdefs.ErrAlreadyExists)
	}
	if g.used+len(s.fds()) > g.room {
		return fmt.Errorf("cannot hold %v and more than %d descriptors: %w", s.id, g.room, errdefs.ErrResourceExhausted)
	}
	return nil
}

func (s *stream) fds() []int {
	if s.raw < 0 {
		return []int{s.fd}
	}
	return []int{s.fd, s.raw}
}

// armLocked lets the pump have the stream's next event.
func (g *registry) armLocked(s *stream) error {
	if !s.pumped {
		return nil
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(s.fd)}
	err := unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, s.fd, &event)
	if errors.Is(err, unix.EEXIST) {
		err = unix.EpollCtl(g.epoll, unix.EPOLL_CTL_MOD, s.fd, &event)
	}
	if err != nil {
		return fmt.Errorf("cannot watch %v: %w", s.id, err)
	}
	return nil
}

// disarmLocked keeps the pump from the stream. A step that is running goes on.
func (g *registry) disarmLocked(s *stream) {
	if s.pumped {
		_ = unix.EpollCtl(g.epoll, unix.EPOLL_CTL_DEL, s.fd, nil) // fails only where it isn't armed
	}
}

// dropLocked takes the stream out of the registry.
func (g *registry) dropLocked(s *stream) {
	g.disarmLocked(s)
	delete(g.streams, s.id)
	delete(g.byFD, s.fd)
	g.used -= len(s.fds())
	s.released = true
}

// take makes the stream the owner's, waits until the pump is off it, and returns duplicates of its descriptors, which are the caller's.
func (g *registry) take(id streamID, owner any) ([]int, error) {
	g.mu.Lock()
	s, ok := g.streams[id]
	if !ok {
		g.mu.Unlock()
		return nil, fmt.Errorf("cannot take %v: %w", id, errdefs.ErrNotFound)
	}
	if s.owner != nil {
		g.mu.Unlock()
		return nil, fmt.Errorf("cannot take %v, which is taken: %w", id, errdefs.ErrFailedPrecondition)
	}
	s.owner = owner
	g.disarmLocked(s)
	step := s.step
	g.mu.Unlock()

	if !settled(step) {
		return nil, errors.Join(fmt.Errorf("cannot take %v while its raw file's disk doesn't answer: %w", id, errdefs.ErrUnavailable), g.giveBack(id, owner))
	}
	fds, err := g.duplicate(id, s)
	if err != nil {
		return nil, errors.Join(err, g.giveBack(id, owner))
	}
	return fds, nil
}

// settled waits for the end of a step, which only a disk that doesn't answer can hold up, and tells whether it came.
func settled(step <-chan struct{}) bool {
	if step == nil {
		return true
	}
	timer := time.NewTimer(settleWait)
	defer timer.Stop()
	select {
	case <-step:
		return true
	case <-timer.C:
		return false
	}
}

// duplicate returns duplicates of a stream's descriptors.
func (g *registry) duplicate(id streamID, s *stream) ([]int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.released {
		return nil, fmt.Errorf("cannot take %v, which was released meanwhile: %w", id, errdefs.ErrNotFound)
	}
	var fds []int
	for _, fd := range s.fds() {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			fdpass.Close(fds)
			return nil, fmt.Errorf("cannot take %v: %w", id, err)
		}
		fds = append(fds, dup)
	}
	return fds, nil
}

// giveBack ends the owner's having the stream.
func (g *registry) giveBack(id streamID, owner any) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.streams[id]
	if !ok {
		return fmt.Errorf("cannot return %v: %w", id, errdefs.ErrNotFound)
	}
	if s.owner != owner {
		return fmt.Errorf("cannot return %v, which this connection has not taken: %w", id, errdefs.ErrFailedPrecondition)
	}
	s.owner = nil
	return g.armLocked(s)
}

// giveAllBack ends the owner's having anything.
func (g *registry) giveAllBack(owner any) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var failed error
	for _, s := range g.streams {
		if s.owner == owner {
			s.owner = nil
			failed = errors.Join(failed, g.armLocked(s))
		}
	}
	return failed
}

// release closes a stream, or with an empty name all of the key, and waits until the pump is off them.
func (g *registry) release(id streamID) error {
	var steps []chan struct{}
	g.mu.Lock()
	for _, name := range []string{Stdin, Stdout, Stderr, Terminal, Process} {
		s, ok := g.streams[streamID{id.key, name}]
		if !ok || id.name != "" && id.name != name {
			continue
		}
		g.dropLocked(s)
		if s.step == nil {
			fdpass.Close(s.fds())
		} else {
			steps = append(steps, s.step)
		}
	}
	g.mu.Unlock()
	for _, step := range steps {
		if !settled(step) {
			return fmt.Errorf("released %q, but a raw file's disk doesn't answer: %w", id.key, errdefs.ErrUnavailable)
		}
	}
	return nil
}

// list returns the first streams after id, in order, and whether there are more.
func (g *registry) list(after streamID) ([]Held, bool) {
	g.mu.Lock()
	var ids []streamID
	for id := range g.streams {
		if id.compare(after) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, streamID.compare)
	more := len(ids) > listBatch
	held := make([]Held, 0, min(len(ids), listBatch))
	for _, id := range ids[:min(len(ids), listBatch)] {
		s := g.streams[id]
		held = append(held, Held{Key: id.key, Name: id.name, Raw: s.raw >= 0, Bound: s.bound, Taken: s.owner != nil})
	}
	g.mu.Unlock()
	return held, more
}

// closeAll closes everything. The pump and all connections have ended.
func (g *registry) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.streams {
		g.dropLocked(s)
		fdpass.Close(s.fds())
	}
}
