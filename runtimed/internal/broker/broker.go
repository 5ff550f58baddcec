package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
)

// backlog is how many events may wait for one subscriber before its subscription is ended.
const backlog = 8192

// Broker hands events to subscribers. Publishing never waits: a subscriber that doesn't keep up loses its
// subscription, with an error, and never an event in the middle.
type Broker struct {
	mu   sync.Mutex
	subs map[*Subscription]struct{}
}

// Subscription is one subscriber's place. It belongs to one goroutine.
type Subscription struct {
	broker *Broker
	wake   chan struct{} // has room for one

	mu    sync.Mutex
	queue []*events.Envelope
	err   error
}

func New() *Broker {
	return &Broker{subs: make(map[*Subscription]struct{})}
}

// Subscribe starts a subscription: every event published from now on is in it. The caller closes it.
func (b *Broker) Subscribe() *Subscription {
	s := &Subscription{broker: b, wake: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs[s] = struct{}{}
	return s
}

// Publish packs an event and hands it to all. The event must be of a type that typeurl knows.
func (b *Broker) Publish(namespace, topic string, event any) error {
	packed, err := typeurl.MarshalAny(event)
	if err != nil {
		return fmt.Errorf("cannot encode event %s: %v: %w", topic, err, errdefs.ErrInvalidArgument)
	}
	b.Forward(&events.Envelope{Timestamp: time.Now().UTC(), Namespace: namespace, Topic: topic, Event: packed})
	return nil
}

// Forward hands an event that is packed already to all, in the same order to each.
func (b *Broker) Forward(e *events.Envelope) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		if !s.put(e) {
			delete(b.subs, s)
		}
	}
}

// put queues an event; false means that the subscription is over.
func (s *Subscription) put(e *events.Envelope) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= backlog {
		s.queue = nil
		s.err = fmt.Errorf("%d events are waiting for this subscriber, subscribe again: %w",
			backlog, errdefs.ErrResourceExhausted)
	} else {
		s.queue = append(s.queue, e)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return s.err == nil
}

// Next returns the events that wait, at least one. Errors: ctx's; ResourceExhausted if the subscriber was too slow.
func (s *Subscription) Next(ctx context.Context) ([]*events.Envelope, error) {
	for {
		s.mu.Lock()
		queue, err := s.queue, s.err
		s.queue = nil
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if len(queue) > 0 {
			return queue, nil
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Subscription) Close() {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	delete(s.broker.subs, s)
}
