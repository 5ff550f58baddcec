package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// SocketName is the name of the keeper's socket in its directory.
const SocketName = "keeper.sock"

// The names of streams.
const (
	Stdin    = "stdin"
	Stdout   = "stdout"
	Stderr   = "stderr"
	Terminal = "terminal"
	Process  = "process" // not a stream, but a pidfd: it tells how a process ended that somebody else reaps
)

// DefaultBound is how many bytes a raw file may take on its disk before the keeper leaves its stream alone.
const DefaultBound = 64 << 20

// HoldOptions are the parts of a Hold that have defaults.
type HoldOptions struct {
	// Bound is the space in bytes that the raw file may take (allocated blocks, not length); 0 is DefaultBound.
	Bound int64
	// Taken makes the stream this connection's from the start, as if it had been taken after the hold.
	Taken bool
}

// Client is a connection to the keeper. All methods may be called at any time from any goroutine; a context bounds the call it is
// given to and nothing else. When the connection ends, by Close or by the death of either side, the keeper takes every stream back that
// the client had.
//
// Every method returns an error of class Unavailable once the keeper is gone; a Client doesn't reconnect.
type Client struct {
	path string
	pid  int
	conn *net.UnixConn
	done chan struct{}
	work sync.WaitGroup

	write chan struct{} // holds one token: whoever has it may write, so that a write deadline belongs to one call

	mu    sync.Mutex
	last  uint64                 // number of the last request
	calls map[uint64]chan packet // waiting for their answers; each channel has room for one
	ended error                  // set once the connection has ended
}

// Dial connects to the keeper that listens on the socket at path and shakes hands. The caller owns the client and must Close it.
// Errors: Unavailable if nobody listens, FailedPrecondition if the keeper speaks another protocol, PermissionDenied for another user.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	c := &Client{path: path, conn: conn, done: make(chan struct{}), write: make(chan struct{}, 1), calls: make(map[uint64]chan packet)}
	c.work.Go(c.receive)
	a, err := c.call(ctx, request{Op: opHello, Protocol: Protocol})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.pid = a.Pid
	return c, nil
}

// Pid returns the keeper's process id.
func (c *Client) Pid() int { return c.pid }

// Done returns a channel that is closed when the connection has ended: the keeper is gone, or Close was called. Streams that the client had
// taken are then no longer its own: whoever reads one must stop.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection, which returns every taken stream, and waits for the client's goroutine and running Exits calls.
// Calls that wait for an answer get an error of class Unavailable. Close may be called more than once, but not from a function that was
// given to Exits.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Hold gives the keeper a duplicate of a stream's descriptor, and of its raw file if raw is not nil. The caller keeps, and closes,
// its own. The key is 1 to 256 letters, digits and "/._:@+-"; the name is Stdin, Stdout, Stderr, Terminal or Process.
//
// The stream is a FIFO or a character device, as Process a pidfd (Linux 6.9); open a FIFO O_RDWR|O_NONBLOCK, so that it never hangs up. The raw file is a regular file
// open for writing without O_APPEND (splice(2) can't append). A Stdout or Stderr FIFO with a raw file is pumped into it as long as nobody has the stream.
//
// Errors: AlreadyExists if a stream of this key and name is held, InvalidArgument for descriptors of the wrong kind,
// ResourceExhausted if the keeper can hold no more. When ctx ends first, it is unknown whether the stream is held: Release it.
func (c *Client) Hold(ctx context.Context, key, name string, stream, raw *os.File, opts HoldOptions) error {
	r := request{Op: opHold, Key: key, Name: name, Raw: raw != nil, Bound: opts.Bound, Taken: opts.Taken}
	files := []*os.File{stream}
	if raw != nil {
		files = append(files, raw)
	}
	_, err := c.call(ctx, r, files...)
	return err
}

// Take makes a held stream this client's and returns duplicates of its descriptors, which the caller owns: the stream and, where the hold came with one, the raw
// file (else nil). They share their offsets and flags with the keeper's. When Take returns, the keeper has stopped reading the
// stream, and doesn't start again before Return or the end of the connection.
//
// Errors: NotFound if no such stream is held, FailedPrecondition if a live connection has it (this one included), Unavailable if
// the pump is stuck in the raw file's disk. When ctx ends first, the stream is not taken.
func (c *Client) Take(ctx context.Context, key, name string) (stream, raw *os.File, err error) {
	a, err := c.call(ctx, request{Op: opTake, Key: key, Name: name})
	if err != nil {
		return nil, nil, err
	}
	want := 1
	if a.Raw {
		want = 2
	}
	if len(a.files) != want {
		closeFiles(a.files)
		return nil, nil, fmt.Errorf("cannot take %s of %q: %d descriptors in the answer instead of %d: %w", name, key, len(a.files), want, errdefs.ErrInternal)
	}
	if a.Raw {
		raw = a.files[1]
	}
	return a.files[0], raw, nil
}

// Return gives a taken stream back. The caller must have stopped reading it: the pump may start before Return comes back.
// Errors: NotFound if no such stream is held, FailedPrecondition if this client doesn't have it.
func (c *Client) Return(ctx context.Context, key, name string) error {
	_, err := c.call(ctx, request{Op: opReturn, Key: key, Name: name})
	return err
}

// Release makes the keeper close what it holds of a stream, whoever has it; with an empty name, of all streams of the key. That nothing is held is
// no error. When it returns without an error, the pump doesn't touch the stream or its raw file any more.
func (c *Client) Release(ctx context.Context, key, name string) error {
	_, err := c.call(ctx, request{Op: opRelease, Key: key, Name: name})
	return err
}

// List returns all held streams, ordered by key and name. With thousands of streams it takes several requests, and is then not one moment's picture.
func (c *Client) List(ctx context.Context) ([]Held, error) {
	var all []Held
	for next := (request{Op: opList}); ; {
		a, err := c.call(ctx, next)
		if err != nil {
			return nil, err
		}
		all = append(all, a.Held...)
		if !a.More || len(a.Held) == 0 {
			return all, nil
		}
		next.Key, next.Name = all[len(all)-1].Key, all[len(all)-1].Name
	}
}

// Lookup finds the exit of the process that has, or had, this pid and start time. It is not found while the process lives, if it was never
// the keeper's child, after Forget, and once 65,536 newer ones were kept.
func (c *Client) Lookup(ctx context.Context, pid int, startTime uint64) (exit Exit, found bool, err error) {
	a, err := c.call(ctx, request{Op: opLookup, Pid: pid, Start: startTime})
	if err != nil || len(a.Exits) == 0 {
		return Exit{}, false, err
	}
	return a.Exits[0], true, nil
}

// Forget drops the exit of a process from the ledger: the caller has stored it in a record of its own. That there is none is no error.
func (c *Client) Forget(ctx context.Context, pid int, startTime uint64) error {
	_, err := c.call(ctx, request{Op: opForget, Pid: pid, Start: startTime})
	return err
}

// Exits calls fn with every exit in the ledger and then with each new one, in the order of Seq, without a gap and none twice, until ctx ends,
// fn returns an error, or the keeper is gone; it returns the reason, never nil. It has a connection of its own, so fn may use the client and take its time: exits
// wait in the ledger, and reaping doesn't wait for fn.
//
// Errors: ctx's or fn's own; Unavailable if the keeper is gone or Close was called; OutOfRange if fn was so slow that the ledger has dropped exits
// it had not seen: call Exits again and look at the processes that should be alive.
func (c *Client) Exits(ctx context.Context, fn func(Exit) error) error {
	ctx, cancel, err := c.join(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	err = follow(ctx, c.path, fn)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, errdefs.ErrUnavailable) {
		return cause
	}
	return err
}

// join makes a running call one that Close ends and waits for. The returned function must be called.
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
			cancel(gone(net.ErrClosed))
		case <-stop:
		}
	})
	return ctx, func() { close(stop); cancel(nil); c.work.Done() }, nil
}

// call sends a request and waits for its answer. The answer's files are the caller's.
func (c *Client) call(ctx context.Context, r request, files ...*os.File) (packet, error) {
	wait := make(chan packet, 1)
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return packet{}, c.ended
	}
	c.last++
	r.ID = c.last
	c.calls[r.ID] = wait
	c.mu.Unlock()

	if err := c.send(ctx, r, files); err != nil {
		c.abandon(r.ID, wait)
		return packet{}, err
	}
	select {
	case p, ok := <-wait:
		if !ok {
			return packet{}, c.endError()
		}
		return p, p.err()
	case <-ctx.Done():
		c.abandon(r.ID, wait)
		c.undo(r)
		return packet{}, ctx.Err()
	}
}

// abandon forgets a call, and closes what an answer that came all the same has brought.
func (c *Client) abandon(id uint64, wait chan packet) {
	c.mu.Lock()
	delete(c.calls, id)
	c.mu.Unlock()
	select {
	case p := <-wait:
		closeFiles(p.files)
	default:
	}
}

// undo gives back what an abandoned take may still get. Requests are answered in their order, so a take that follows can't be hit.
// Where not even that can be sent the connection is ended, which gives everything back.
func (c *Client) undo(r request) {
	if r.Op != opTake {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c.send(ctx, request{Op: opReturn, Key: r.Key, Name: r.Name}, nil) != nil {
		c.conn.Close() // the receiver tells the others
	}
}

// send writes a request; the end of ctx ends a write that can't go on because the keeper doesn't read.
func (c *Client) send(ctx context.Context, r request, files []*os.File) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot encode request: %w", err)
	}
	if len(data) > maxRequest {
		return fmt.Errorf("cannot send request of %d bytes, more than %d: %w", len(data), maxRequest, errdefs.ErrInvalidArgument)
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
	return writeWithin(ctx, c.conn, data, files)
}

// receive hands answers to their calls until the connection ends, then ends them all.
func (c *Client) receive() {
	buffer := make([]byte, maxAnswer)
	var err error
	for err == nil {
		var p packet
		if p, err = readAnswer(c.conn, buffer); err != nil {
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
			closeFiles(p.files)
		}
	}
	c.conn.Close() // nothing but EOF or a broken connection gets here: there is nobody to tell
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = gone(err)
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

// gone is the error of every call on a connection that has ended.
func gone(cause error) error {
	return fmt.Errorf("the connection to the keeper has ended (%v): %w", cause, errdefs.ErrUnavailable)
}
