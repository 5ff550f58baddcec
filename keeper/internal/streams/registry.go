package streams

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/engine-lite/engine-lite/keeper/internal/wire"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/fdpass"
)

const (
	settleWait = 10 * time.Second // for a step of the pump that waits for a disk
	listBatch  = 128              // streams in one answer, which has room for them: a stream takes some 350 bytes
)

// ID names a held stream.
type ID struct{ Key, Name string }

func (id ID) String() string { return fmt.Sprintf("%s of %q", id.Name, id.Key) }

func (id ID) compare(other ID) int {
	return cmp.Or(strings.Compare(id.Key, other.Key), strings.Compare(id.Name, other.Name))
}

// Stream is one held stream. It owns its descriptors. Once the registry has the stream, its mu guards the fields
// that change.
type Stream struct {
	id      ID
	fd, raw int // raw is -1 where there is no raw file
	bound   int64
	pumped  bool // a FIFO that the pump moves into the raw file while no connection has the stream

	owner    any           // the connection that has it, or nil
	step     chan struct{} // closed at the end of the pump's running step; nil while there is none
	released bool          // no longer in the registry; whoever ends the step closes the descriptors
}

// Registry has all held streams. Any goroutine may call any method. Its epoll instance watches each pumped stream
// that no connection has, one-shot: each event is one step of the pump.
type Registry struct {
	epoll int
	room  int // descriptors that may be held

	mu      sync.Mutex
	streams map[ID]*Stream
	byFD    map[int]*Stream
	used    int // descriptors held
}

func NewRegistry(epoll, room int) *Registry {
	return &Registry{epoll: epoll, room: room, streams: make(map[ID]*Stream), byFD: make(map[int]*Stream)}
}

// Hold adds a stream. It owns the descriptors from then on, and closes them in case of an error.
//
// Errors: AlreadyExists if the registry has such a stream, ResourceExhausted if there is no room.
func (g *Registry) Hold(s *Stream) error {
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

func (g *Registry) admitLocked(s *Stream) error {
	if _, ok := g.streams[s.id]; ok {
		return fmt.Errorf("cannot hold %v, which is held: %w", s.id, errdefs.ErrAlreadyExists)
	}
	if g.used+len(s.fds()) > g.room {
		return fmt.Errorf("cannot hold %v and more than %d descriptors: %w", s.id, g.room, errdefs.ErrResourceExhausted)
	}
	return nil
}

func (s *Stream) fds() []int {
	if s.raw < 0 {
		return []int{s.fd}
	}
	return []int{s.fd, s.raw}
}

// armLocked gives the pump the next event of the stream.
func (g *Registry) armLocked(s *Stream) error {
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

// disarmLocked keeps the pump from the stream. A running step goes on.
func (g *Registry) disarmLocked(s *Stream) {
	if s.pumped {
		_ = unix.EpollCtl(g.epoll, unix.EPOLL_CTL_DEL, s.fd, nil) // fails only if it is not armed
	}
}

// dropLocked takes the stream out of the registry.
func (g *Registry) dropLocked(s *Stream) {
	g.disarmLocked(s)
	delete(g.streams, s.id)
	delete(g.byFD, s.fd)
	g.used -= len(s.fds())
	s.released = true
}

// Take makes the stream the owner's, waits for the end of the pump's step, and returns duplicates of the
// descriptors, which the caller owns.
//
// Errors: NotFound, FailedPrecondition if the stream has an owner, Unavailable if the step does not end in time.
func (g *Registry) Take(id ID, owner any) ([]int, error) {
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

	if !Settled(step) {
		return nil, errors.Join(fmt.Errorf("cannot take %v while its raw file's disk doesn't answer: %w",
			id, errdefs.ErrUnavailable), g.GiveBack(id, owner))
	}
	fds, err := g.duplicate(id, s)
	if err != nil {
		return nil, errors.Join(err, g.GiveBack(id, owner))
	}
	return fds, nil
}

// Settled waits until step is closed, for at most 10 seconds, and tells whether it was. Only a disk that does not
// answer makes a step take that long. A nil step has ended.
func Settled(step <-chan struct{}) bool {
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
func (g *Registry) duplicate(id ID, s *Stream) ([]int, error) {
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

// GiveBack takes the stream from its owner, and lets the pump have it. Errors: NotFound, FailedPrecondition if it
// is not the owner's.
func (g *Registry) GiveBack(id ID, owner any) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.streams[id]
	if !ok {
		return fmt.Errorf("cannot return %v: %w", id, errdefs.ErrNotFound)
	}
	if s.owner != owner {
		return fmt.Errorf("cannot return %v, which this connection has not taken: %w",
			id, errdefs.ErrFailedPrecondition)
	}
	s.owner = nil
	return g.armLocked(s)
}

// GiveAllBack takes all streams from their owner.
func (g *Registry) GiveAllBack(owner any) error {
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

// Release closes a stream, or with an empty name all of the key, and waits for the end of the pump's steps. It is
// no error if there is none. Errors: Unavailable if a step does not end in time.
func (g *Registry) Release(id ID) error {
	var steps []chan struct{}
	g.mu.Lock()
	for _, name := range wire.Names {
		s, ok := g.streams[ID{id.Key, name}]
		if !ok || id.Name != "" && id.Name != name {
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
		if !Settled(step) {
			return fmt.Errorf("released %q, but a raw file's disk doesn't answer: %w", id.Key, errdefs.ErrUnavailable)
		}
	}
	return nil
}

// List returns the first streams after an id, in order, and whether there are more.
func (g *Registry) List(after ID) ([]wire.Held, bool) {
	g.mu.Lock()
	var ids []ID
	for id := range g.streams {
		if id.compare(after) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, ID.compare)
	more := len(ids) > listBatch
	held := make([]wire.Held, 0, min(len(ids), listBatch))
	for _, id := range ids[:min(len(ids), listBatch)] {
		s := g.streams[id]
		held = append(held, wire.Held{Key: id.Key, Name: id.Name, Raw: s.raw >= 0, Bound: s.bound, Taken: s.owner != nil})
	}
	g.mu.Unlock()
	return held, more
}

// CloseAll closes all streams. The pump and all connections have ended before.
func (g *Registry) CloseAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.streams {
		g.dropLocked(s)
		fdpass.Close(s.fds())
	}
}
