package images

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/internal/retry"
)

const (
	// defaultCollectDelay keeps a burst of removals from collecting once each.
	defaultCollectDelay = time.Second
	// releaseTimeout bounds the release of a lease. The release isn't cancelled
	// with the operation that took the lease.
	releaseTimeout = 10 * time.Second
	// lastTimeout bounds the collection that goes on, or begins, when the store
	// is closed.
	lastTimeout = 10 * time.Second
)

// collector calls collect in the background, one call at a time, a delay after a
// request.
type collector struct {
	collect func(context.Context) error
	delay   time.Duration
	log     *logrus.Entry

	wake   chan struct{}
	cancel context.CancelFunc
	joined sync.WaitGroup
}

// start starts the goroutine that stop ends. No other method is called before start.
func (c *collector) start() {
	if c.delay <= 0 {
		c.delay = defaultCollectDelay
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.wake = make(chan struct{}, 1)
	c.cancel = cancel
	c.joined.Go(func() { c.run(ctx) })
}

// stop ends the goroutine and waits for it. A collection under way may end, and one
// that was requested is done, each within lastTimeout.
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
		if retry.Sleep(ctx, c.delay) != nil {
			c.request()
			c.last()
			return
		}
		select { // requests during the delay are served by the collection now
		case <-c.wake:
		default:
		}
		c.once(ctx)
	}
}

// once collects. Where ctx ends meanwhile, the collection has lastTimeout more:
// containerd's collection leaves a goroutine behind when it is cancelled while it looks
// for content in use.
func (c *collector) once(ctx context.Context) {
	collecting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastTimeout, cancel) })()
	if err := c.collect(collecting); err != nil && ctx.Err() == nil {
		c.log.WithError(err).Warn("cannot remove unused image content; it stays until the next collection")
	}
}

// last does the collection that was requested, if there is one. Otherwise content that
// was removed shortly before the end would stay on the disk until the next start.
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

// request requests a collection, and never blocks. All requests before a collection
// starts are served by it.
func (c *collector) request() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Collect removes the content that no name, container or operation under way refers
// to. The files of layers are deleted in the background.
func (s *Store) Collect(ctx context.Context) error {
	defer s.sizes.forget()
	if _, err := s.meta.GarbageCollect(s.scope(ctx)); err != nil {
		return fmt.Errorf("cannot collect image garbage: %w", err)
	}
	return nil
}

// hold takes a lease: content that is written with the context held stays until
// release. To stay longer, a name has to refer to it by then. Release also requests
// a collection.
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
			s.log.WithError(err).WithField("lease", lease.ID).
				Warn("cannot release an image lease; its content stays until the next start")
		}
		s.collector.request()
	}
	return leases.WithLease(ctx, lease.ID), release, nil
}
