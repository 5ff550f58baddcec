package libcontainerd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/queue"
)

// Client keeps the containers of one runtime daemon. Its methods may be called from any goroutine. No method holds
// a lock while it calls the daemon, the stdio or the backend, so Get, List and Status never wait for those.
type Client struct {
	daemon  Daemon
	stdio   Stdio
	backend Backend
	options options

	// active ends when Run begins to shut down. final ends after that, when the callbacks have returned or
	// WithShutdownTimeout is over.
	active, final       context.Context
	endActive, endFinal context.CancelFunc
	watchers            sync.WaitGroup
	changes             *queue.Queue[string, change]
	ready               chan struct{}
	markReady, started  sync.Once

	mu         sync.Mutex
	containers map[string]*Container
	reserved   map[string]bool // ids whose Create or Restore is in flight
	leftovers  map[string]bool // ids whose record a failed Create may have left at the daemon
	// clearing has the reserved ids whose record a reconcile deletes. A request for such an id waits until the
	// channel is closed.
	clearing   map[string]chan struct{}
	reconciled chan struct{} // closed and replaced by each reconcile
	closed     bool          // no goroutine may be added to watchers any more
}

// New returns a client of the daemon d. The client makes streams with s and delivers events to the backend b. All
// three belong to the caller; the client never closes them. The error is InvalidArgument for an argument that is
// nil or an option out of its range.
//
// The caller must call Run once: Run keeps the client in step with the daemon, and ends the goroutines that
// requests start. Requests may be made before Run. A client that is not needed after all is ended by Run with a
// context that has ended.
func New(d Daemon, s Stdio, b Backend, opts ...Option) (*Client, error) {
	if d == nil || s == nil || b == nil {
		return nil, fmt.Errorf("a client needs a daemon, a stdio and a backend: %w", errdefs.ErrInvalidArgument)
	}
	c := &Client{
		daemon: d, stdio: s, backend: b, options: defaultOptions(),
		containers: map[string]*Container{},
		reserved:   map[string]bool{},
		leftovers:  map[string]bool{},
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
	c.active, c.endActive = context.WithCancel(context.Background())
	c.final, c.endFinal = context.WithCancel(context.Background())
	c.changes = queue.New(c.handleChange, c.callbackExited)
	return c, nil
}

// Ready returns a channel that is closed when Run has compared the records with the daemon for the first time. From
// then on the status of a restored container is what the daemon says. The events of what was missed may come later: use
// Wait for an exit. If the daemon lists its tasks and then
// doesn't answer for a container within 2 s, the channel is closed without that answer, and the container keeps its
// last known status until the answer comes.
func (c *Client) Ready() <-chan struct{} { return c.ready }

func (c *Client) becomeReady() { c.markReady.Do(func() { close(c.ready) }) }

// Get returns the container with an id. The error is NotFound if there is none.
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

// reserve takes an id, for its caller alone, until add or release. It waits while a reconcile deletes what a failed
// Create of the id left.
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
		if err := await.Closed(ctx, clearing); err != nil {
			return fmt.Errorf("the leftover of a failed create of container %q is still being deleted: %w", id, err)
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
	delete(c.leftovers, ctr.id)
	c.containers[ctr.id] = ctr
	c.mu.Unlock()
}

func (c *Client) remove(ctr *Container) {
	c.mu.Lock()
	delete(c.containers, ctr.id)
	c.mu.Unlock()
}

// watch starts the goroutine that waits for the exit of p. The goroutine ends with p's exit, with p.cancel, or when
// Run begins to shut down. Run waits for it. watch returns false, and starts nothing, after the client was closed.
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
