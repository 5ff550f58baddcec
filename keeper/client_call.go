package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/fdpass"
	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// join registers a running call, so that Close ends it and waits for it. The returned function must be called.
func (c *Client) join(ctx context.Context) (context.Context, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return nil, nil, c.ended
	}
	c.work.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	c.work.Go(func() {
		select {
		case <-c.done:
			cancel(wire.Gone(net.ErrClosed))
		case <-stop:
		}
	})
	return ctx, func() { close(stop); cancel(nil); c.work.Done() }, nil
}

// call sends a request and waits for its answer. The files in the answer are the caller's.
func (c *Client) call(ctx context.Context, r wire.Request, files ...*os.File) (wire.Packet, error) {
	wait := make(chan wire.Packet, 1)
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return wire.Packet{}, c.ended
	}
	c.last++
	r.ID = c.last
	c.calls[r.ID] = wait
	c.mu.Unlock()

	if err := c.send(ctx, r, files); err != nil {
		c.abandon(r.ID, wait)
		return wire.Packet{}, err
	}
	select {
	case p, ok := <-wait:
		if !ok {
			return wire.Packet{}, c.endError()
		}
		return p, p.Err()
	case <-ctx.Done():
		c.abandon(r.ID, wait)
		c.undo(r)
		return wire.Packet{}, ctx.Err()
	}
}

// abandon forgets a call. If the answer came all the same, its files are closed.
func (c *Client) abandon(id uint64, wait chan wire.Packet) {
	c.mu.Lock()
	delete(c.calls, id)
	c.mu.Unlock()
	select {
	case p := <-wait:
		wire.CloseFiles(p.Files)
	default:
	}
}

// undo returns the stream that an abandoned take may still get. The keeper answers requests in their order, so undo
// cannot hit a later take. Where even the request cannot be sent, undo ends the connection, which returns all
// streams.
func (c *Client) undo(r wire.Request) {
	if r.Op != wire.OpTake {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c.send(ctx, wire.Request{Op: wire.OpReturn, Key: r.Key, Name: r.Name}, nil) != nil {
		c.conn.Close() // receive ends the other calls
	}
}

// send writes a request. The end of ctx also ends a write that waits because the keeper does not read.
func (c *Client) send(ctx context.Context, r wire.Request, files []*os.File) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot encode request: %w", err)
	}
	if len(data) > wire.MaxRequest {
		return fmt.Errorf("cannot send request of %d bytes, more than %d: %w",
			len(data), wire.MaxRequest, errdefs.ErrInvalidArgument)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.write <- struct{}{}:
		defer func() { <-c.write }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return wire.Write(ctx, c.conn, data, files)
}

// receive hands answers to their calls until the connection ends, and then ends all calls.
func (c *Client) receive() {
	buffer := make([]byte, wire.MaxAnswer)
	var err error
	for err == nil {
		var p wire.Packet
		if p, err = wire.ReadAnswer(c.conn, buffer); err != nil {
			break
		}
		c.mu.Lock()
		wait, ok := c.calls[p.ID]
		delete(c.calls, p.ID)
		if ok {
			wait <- p // has room for its only answer
		}
		c.mu.Unlock()
		if !ok {
			wire.CloseFiles(p.Files)
		}
	}
	c.conn.Close() // the connection has ended already, or is broken
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = wire.Gone(err)
	for _, wait := range c.calls {
		close(wait)
	}
	clear(c.calls)
	close(c.done)
}

// endError returns why the connection ended.
func (c *Client) endError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// follow reads the exits of a ledger over a connection of its own.
func follow(ctx context.Context, path string, fn func(Exit) error) error {
	conn, err := wire.Dial(ctx, path)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() { stop(); conn.Close() }() // closing twice is harmless, and nothing was written that could be lost
	for _, hello := range []string{
		fmt.Sprintf(`{"id":1,"op":%q,"protocol":%d}`, wire.OpHello, wire.Protocol),
		fmt.Sprintf(`{"id":2,"op":%q}`, wire.OpExits),
	} {
		if err := fdpass.Write(conn, []byte(hello), nil); err != nil {
			return wire.Gone(err)
		}
	}
	buffer := make([]byte, wire.MaxAnswer)
	for {
		p, err := wire.ReadAnswer(conn, buffer)
		if err != nil {
			return wire.Gone(err)
		}
		wire.CloseFiles(p.Files) // none belongs to an exit
		if err := p.Err(); err != nil {
			return err
		}
		for _, exit := range p.Exits {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := fn(Exit(exit)); err != nil {
				return err
			}
		}
	}
}
