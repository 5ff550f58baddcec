package libcontainerd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/queue"
)

// Client keeps the containers of one runtime daemon. Its methods may be called
// from any goroutine; none holds a lock while it calls the daemon, the stdio
// or the backend, so that Get, List and Status never wait.
type Client struct {
	daemon  Daemon
	stdio   Stdio
	backend Backend
	options options

	// life ends when Run shuts down, hard when the callbacks' time is over too.
	life, hard         context.Context
	endLife, abandon   context.CancelFunc
	watchers           sync.WaitGroup
	changes            *queue.Queue[string, change]
	ready              chan struct{}
	markReady, started sync.Once

	mu         sync.Mutex
	containers map[string]*Container
	reserved   map[string]bool // ids whose Create or Restore is in flight
	stray      map[string]bool // ids whose record a failed Create may have left at the daemon
	// clearing are the reserved ids whose record a reconcile deletes: who wants one
	// of them waits until the channel is closed.
	clearing   map[string]chan struct{}
	reconciled chan struct{} // closed and replaced by each reconcile
	closed     bool          // no goroutine may be added to watchers any more
}

// New returns a client of the daemon d that makes streams with s and tells b.
// The three stay the caller's; the client never closes them. Requests may be
// made at once, but it is Run that keeps the client in step with the daemon
// and that ends what the client started, so each client must be Run once, if
// only with a context that has ended.
func New(d Daemon, s Stdio, b Backend, opts ...Option) (*Client, error) {
	if d == nil || s == nil || b == nil {
		return nil, fmt.Errorf("a client needs a daemon, a stdio and a backend: %w", errdefs.ErrInvalidArgument)
	}
	c := &Client{
		daemon: d, stdio: s, backend: b, options: defaultOptions(),
		containers: map[string]*Container{},
		reserved:   map[string]bool{},
		stray:      map[string]bool{},
		clearing:   map[string]chan struct{}{},
		reconciled: make(chan struct{}),
		ready:      make(chan struct{}),
	}
	for _, o := range opts {
		o(&c.options)
	}
	if err := c.options.check(); err != nil {
		return nil, err
	}
	c.life, c.endLife = context.WithCancel(context.Background())
	c.hard, c.abandon = context.WithCancel(context.Background())
	c.changes = queue.New(c.deliver, c.deliveryDied)
	return c, nil
}

// Ready is closed after the first reconcile: what the client says of restored
// containers is then what the daemon says. Containers that the daemon hangs
// over delay it by 2 s at most, and are as they were last known until it answers.
func (c *Client) Ready() <-chan struct{} { return c.ready }

func (c *Client) becomeReady() { c.markReady.Do(func() { close(c.ready) }) }

// Get returns a container; NotFound where there is none of that id.
func (c *Client) Get(id string) (*Container, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctr, ok := c.containers[id]; ok {
		return ctr, nil
	}
	return nil, fmt.Errorf("no container %q: %w", id, errdefs.ErrNotFound)
}

// List returns all containers, sorted by id.
func (c *Client) List() []*Container {
	c.mu.Lock()
	all := make([]*Container, 0, len(c.containers))
	for _, ctr := range c.containers {
		all = append(all, ctr)
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b *Container) int { return strings.Compare(a.id, b.id) })
	return all
}

// reserve takes an id until it is handed to add or release.
func (c *Client) reserve(ctx context.Context, id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	for {
		c.mu.Lock()
		clearing := c.clearing[id]
		err := c.reserveLocked(id)
		c.mu.Unlock()
		if clearing == nil {
			return err
		}
		select {
		case <-clearing:
		case <-ctx.Done():
			return fmt.Errorf("what a failed creation of container %q left is still being deleted: %w", id, context.Cause(ctx))
		}
	}
}

func (c *Client) reserveLocked(id string) error {
	if c.closed {
		return errShutdown("create container", id)
	}
	if c.containers[id] != nil || c.reserved[id] {
		return fmt.Errorf("container %q exists: %w", id, errdefs.ErrAlreadyExists)
	}
	c.reserved[id] = true
	return nil
}

func (c *Client) release(id string) {
	c.mu.Lock()
	delete(c.reserved, id)
	c.mu.Unlock()
}

// add makes the container of a reserved id visible.
func (c *Client) add(ctr *Container) {
	c.mu.Lock()
	delete(c.reserved, ctr.id)
	delete(c.stray, ctr.id)
	c.containers[ctr.id] = ctr
	c.mu.Unlock()
}

func (c *Client) remove(ctr *Container) {
	c.mu.Lock()
	delete(c.containers, ctr.id)
	c.mu.Unlock()
}

// watch starts the goroutine that waits for the end of p. It ends with p's
// exit, with p.cancel or with the client's life, and Run joins it.
func (c *Client) watch(p *process) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.watchers.Go(p.watch)
	return true
}

func errShutdown(action, id string) error {
	return fmt.Errorf("cannot %s %q: the client is shutting down: %w", action, id, errdefs.ErrUnavailable)
}
