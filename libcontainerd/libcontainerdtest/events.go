package libcontainerdtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// FilterEvents has the daemon publish the events that f returns in place of e. With it a test loses, repeats or
// changes events; Publish adds some. f is called while the daemon's lock is held, and must not call the daemon. nil
// removes the filter.
func (d *Daemon) FilterEvents(f func(e libcontainerd.DaemonEvent) []libcontainerd.DaemonEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.filter = f
}

// Publish sends an event to all subscribers. The filter doesn't see it.
func (d *Daemon) Publish(e libcontainerd.DaemonEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.publishLocked(e)
}

// CutSubscriptions ends all subscriptions with Unavailable.
func (d *Daemon) CutSubscriptions() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutLocked(errdefs.ErrUnavailable)
}

func (d *Daemon) cutLocked(err error) {
	for s := range d.subs {
		s.end(fmt.Errorf("the subscription was cut: %w", err))
	}
	clear(d.subs)
}

func (d *Daemon) emitLocked(e libcontainerd.DaemonEvent) {
	all := []libcontainerd.DaemonEvent{e}
	if d.filter != nil {
		all = d.filter(e)
	}
	for _, e := range all {
		d.publishLocked(e)
	}
}

func (d *Daemon) publishLocked(e libcontainerd.DaemonEvent) {
	for s := range d.subs {
		s.push(e)
	}
}

// Subscribe starts a stream of the events that happen from now on. It keeps all events that are not read yet.
func (d *Daemon) Subscribe(ctx context.Context) (libcontainerd.Subscription, error) {
	if _, err := d.enter(ctx, "Subscribe"); err != nil {
		return nil, err
	}
	s := &subscription{daemon: d, more: make(chan struct{}, 1)}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subs[s] = true
	return s, nil
}

// subscription is a queue without a bound.
type subscription struct {
	daemon *Daemon
	more   chan struct{} // holds one item if events or ended have changed

	mu     sync.Mutex
	events []libcontainerd.DaemonEvent
	ended  error
}

func (s *subscription) push(e libcontainerd.DaemonEvent) {
	s.mu.Lock()
	s.events = append(s.events, e)
	s.mu.Unlock()
	s.wake()
}

func (s *subscription) end(err error) {
	s.mu.Lock()
	s.ended = err
	s.mu.Unlock()
	s.wake()
}

func (s *subscription) wake() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *subscription) Next(ctx context.Context) (libcontainerd.DaemonEvent, error) {
	for {
		s.mu.Lock()
		if len(s.events) > 0 {
			e := s.events[0]
			s.events = s.events[1:]
			s.mu.Unlock()
			return e, nil
		}
		err := s.ended
		s.mu.Unlock()
		if err != nil {
			return libcontainerd.DaemonEvent{}, err
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return libcontainerd.DaemonEvent{}, context.Cause(ctx)
		}
	}
}

func (s *subscription) Close() error {
	s.daemon.mu.Lock()
	defer s.daemon.mu.Unlock()
	delete(s.daemon.subs, s)
	return nil
}
