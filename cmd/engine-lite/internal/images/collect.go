package images

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
)

const (
	// defaultCollectDelay keeps a burst of removals from collecting once each.
	defaultCollectDelay = time.Second
	// releaseTimeout bounds the release of a lease, which must not be
	// cancelled with the operation that it belonged to.
	releaseTimeout = 10 * time.Second
	// lastTimeout bounds the collection that was asked for and had not begun
	// when the store was closed.
	lastTimeout = 10 * time.Second
)

// collector calls collect in the background, one call at a time, some while
// after it was asked to.
type collector struct {
	collect func(context.Context) error
	delay   time.Duration
	log     *logrus.Entry

	wake   chan struct{}
	cancel context.CancelFunc
	joined sync.WaitGroup
}

// start starts the goroutine that stop ends. It comes before everything else.
func (c *collector) start() {
	if c.delay <= 0 {
		c.delay = defaultCollectDelay
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.wake = make(chan struct{}, 1)
	c.cancel = cancel
	c.joined.Go(func() { c.run(ctx) })
}

// stop lets a collection under way end, does one that was asked for since, and
// waits for the goroutine.
func (c *collector) stop() {
	c.cancel()
	c.joined.Wait()
}

func (c *collector) run(ctx context.Context) {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			c.last()
			return
		}
		select {
		case <-time.After(c.delay):
		case <-ctx.Done():
			c.request()
			c.last()
			return
		}
		select { // what was asked for meanwhile is about to happen
		case <-c.wake:
		default:
		}
		c.once(ctx)
	}
}

// once collects. Where ctx ends meanwhile it has some more time: containerd's
// collection leaves a goroutine behind when it is cancelled while it looks for
// what is in use.
func (c *collector) once(ctx context.Context) {
	collecting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastTimeout, cancel) })()
	if err := c.collect(collecting); err != nil && ctx.Err() == nil {
		c.log.WithError(err).Warn("image garbage stays until the next collection")
	}
}

// last does the collection that was asked for, so that what was removed just
// before the end doesn't stay on the disk until the next start.
func (c *collector) last() {
	select {
	case <-c.wake:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastTimeout)
	defer cancel()
	c.once(ctx)
}

// request asks for a collection soon; it never blocks. Any number of requests
// before it starts are one.
func (c *collector) request() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Collect removes at once what no name, container or operation under way
// refers to, and returns when it is gone.
func (s *Store) Collect(ctx context.Context) error {
	if _, err := s.meta.GarbageCollect(s.scope(ctx)); err != nil {
		return fmt.Errorf("cannot collect image garbage: %w", err)
	}
	return nil
}

// hold takes a lease: whatever is written with the context that it returns
// stays until release, by when a name has to refer to it. Release also asks
// for a collection.
func (s *Store) hold(ctx context.Context) (held context.Context, release func(), err error) {
	ctx = s.scope(ctx)
	lease, err := s.leases.Create(ctx, leases.WithRandomID())
	if err != nil {
		return nil, nil, fmt.Errorf("cannot take a lease: %w", err)
	}
	release = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := s.leases.Delete(ctx, lease); err != nil && !errdefs.IsNotFound(err) {
			s.log.WithError(err).WithField("lease", lease.ID).Warn("lease stays until the next start")
		}
		s.collector.request()
	}
	return leases.WithLease(ctx, lease.ID), release, nil
}
