package files

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrEnded is the cause with which Copies.End ends a copy.
var ErrEnded = errors.New("the container was started or removed during the copy")

// Copies are the copies from and to one container that are under way. They share a Root: an overlay must not be mounted
// twice. The zero value has none.
type Copies struct {
	mu sync.Mutex
	// root is that of the copies; nil before the first one has opened it.
	root *Root
	// changing is closed when the root has been opened or closed; nil while nobody does either.
	changing chan struct{}
	running  map[*Copy]context.CancelCauseFunc
	// idle is closed when the last copy has ended.
	idle chan struct{}
}

// Copy is a copy that is under way.
type Copy struct {
	// Root are the container's files until Close.
	Root *Root
	// Context is done when the copy has to end; its cause is ErrEnded if Copies.End has ended the copy. It ends with
	// that of Begin, and not with Close: what the copy has written may still be on its way to a client.
	Context context.Context

	of *Copies
}

// Begin begins a copy. open opens the container's files if no other copy has. The caller closes the copy.
func (c *Copies) Begin(ctx context.Context, open func() (*Root, error)) (*Copy, error) {
	ctx, stop := context.WithCancelCause(ctx)
	n := &Copy{Context: ctx, of: c}
	c.mu.Lock()
	if c.running == nil {
		c.running, c.idle = map[*Copy]context.CancelCauseFunc{}, make(chan struct{})
	}
	c.running[n] = stop
	c.settleLocked()
	if n.Root = c.root; n.Root != nil {
		c.mu.Unlock()
		return n, nil
	}
	c.changing = make(chan struct{})
	c.mu.Unlock()
	root, err := open()
	c.mu.Lock()
	c.root, n.Root = root, root
	c.changedLocked()
	c.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// settleLocked waits until nobody opens or closes the root. It releases the lock meanwhile.
func (c *Copies) settleLocked() {
	for c.changing != nil {
		changing := c.changing
		c.mu.Unlock()
		<-changing
		c.mu.Lock()
	}
}

func (c *Copies) changedLocked() {
	close(c.changing)
	c.changing = nil
}

// Close ends the copy. The last one closes the files.
func (n *Copy) Close() error {
	c := n.of
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, n)
	if len(c.running) > 0 {
		return nil
	}
	root, idle := c.root, c.idle
	c.root, c.running = nil, nil
	defer close(idle)
	if root == nil {
		return nil
	}
	c.changing = make(chan struct{})
	c.mu.Unlock()
	err := root.Close()
	c.mu.Lock()
	c.changedLocked()
	return err
}

// End waits until no copy is under way. Those that are after the grace are ended. The caller makes sure that none
// begins meanwhile for which that would matter. The error is that of ctx.
func (c *Copies) End(ctx context.Context, grace time.Duration) error {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for {
		c.mu.Lock()
		idle := c.idle
		c.mu.Unlock()
		if idle == nil {
			return nil
		}
		select {
		case <-idle:
			return nil
		case <-timer.C:
			c.cancel()
			timer.Reset(endAgain)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// endAgain is after which time End ends copies that have begun since it has ended others.
const endAgain = time.Second

func (c *Copies) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stop := range c.running {
		stop(ErrEnded)
	}
}
