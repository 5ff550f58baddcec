package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper/internal/wire"
)

// The names of streams.
const (
	Stdin    = "stdin"
	Stdout   = "stdout"
	Stderr   = "stderr"
	Terminal = "terminal"
	// Process is the name for a pidfd, which is no stream. The keeper's pidfd lets the next engine learn how a process
	// ended that the keeper does not reap.
	Process = "process"
	// StartFIFO is the name for a FIFO that the keeper itself opens for reading. The init process of a created
	// container waits for a reader (runc's exec.fifo), and fails if its reader goes away. The keeper's stays when a
	// client ends.
	StartFIFO = "start-fifo"
)

// DefaultBound is the space in bytes that a raw file may take on its disk if HoldOptions name no other.
const DefaultBound = 64 << 20

// HoldOptions are the parts of a Hold that have defaults.
type HoldOptions struct {
	// Bound is the space in bytes that the raw file may take (allocated blocks, not length). 0 is DefaultBound; a
	// negative one is refused.
	Bound int64
	// Taken makes the stream this connection's from the start, as if Take had followed.
	Taken bool
}

// Held describes a stream that the keeper holds.
type Held struct {
	// Key is the process that the stream belongs to: see the package documentation.
	Key string
	// Name is Stdin, Stdout, Stderr, Terminal, Process or StartFIFO.
	Name string
	// Raw says that the keeper has a raw file for the stream.
	Raw bool
	// Bound is the space in bytes that the raw file may take before the keeper leaves the stream alone.
	Bound int64
	// Taken says that a connection has taken the stream.
	Taken bool
}

// Client is a connection to the keeper. Any goroutine may call any method at any time. A context bounds its call
// and nothing else. When the connection ends, by Close or by the death of either side, the keeper takes back every
// stream that the client had.
//
// A Client has one goroutine, which reads answers. Close ends it, and so does the end of the keeper. A Client does not
// connect again: once the keeper is gone, every method returns an error of class Unavailable.
type Client struct {
	path string
	pid  int
	conn *net.UnixConn
	done chan struct{}
	work sync.WaitGroup

	write chan struct{} // has room for one: the call that put it there may write, so a write deadline belongs to one call

	mu    sync.Mutex
	last  uint64                      // number of the last request
	calls map[uint64]chan wire.Packet // calls that wait for their answers; each channel has room for one
	ended error                       // set once the connection has ended
}

// Dial connects to the keeper that listens on the socket at path. ctx bounds the connecting. The caller owns the
// client and must Close it. Errors: Unavailable if nobody listens, FailedPrecondition if the keeper has another
// protocol number, PermissionDenied if the keeper belongs to another user.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := wire.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	c := &Client{
		path: path, conn: conn, done: make(chan struct{}),
		write: make(chan struct{}, 1), calls: make(map[uint64]chan wire.Packet),
	}
	c.work.Go(c.receive)
	a, err := c.call(ctx, wire.Request{Op: wire.OpHello, Protocol: wire.Protocol})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.pid = a.Pid
	return c, nil
}

// Pid returns the keeper's process id.
func (c *Client) Pid() int { return c.pid }

// Done returns a channel that is closed when the connection has ended: the keeper is gone, or Close was called. The
// client does not have its streams any more then: whoever reads one must stop.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection, which returns every taken stream. It waits for the client's goroutine and for running
// calls of Exits. Calls that wait for an answer get an error of class Unavailable. Close may be called more than
// once. A function that was given to Exits must not call it.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Hold gives the keeper a duplicate of a stream's descriptor, and of its raw file if raw is not nil. The caller
// keeps its own files, and closes them. The key has 1 to 256 letters, digits and "/._:@+-". The name is Stdin,
// Stdout, Stderr, Terminal, Process or StartFIFO.
//
// The stream is a FIFO or a character device; under the name Process it is a pidfd (Linux 6.9) without a raw file. Open
// a FIFO with O_RDWR|O_NONBLOCK, so that it never hangs up. Under the name StartFIFO, the stream is a FIFO that was
// opened with O_PATH, without a raw file; a keeper of an earlier release refuses that with InvalidArgument. The raw
// file is a regular file that is open for writing without O_APPEND: splice(2) cannot append. The package comment says
// which streams are moved into their raw files.
//
// Errors: AlreadyExists if the keeper holds a stream of this key and name, InvalidArgument for files of the wrong
// kind or a bad key, ResourceExhausted if the keeper has no descriptors left. When ctx ends first, it is unknown
// whether the stream is held: Release it.
func (c *Client) Hold(ctx context.Context, key, name string, stream, raw *os.File, opts HoldOptions) error {
	r := wire.Request{Op: wire.OpHold, Key: key, Name: name, Raw: raw != nil, Bound: opts.Bound, Taken: opts.Taken}
	files := []*os.File{stream}
	if raw != nil {
		files = append(files, raw)
	}
	_, err := c.call(ctx, r, files...)
	return err
}

// Take makes a held stream this client's. It returns duplicates of the stream and of its raw file (nil if the hold
// came without one), which the caller owns and closes. They share offsets and flags with the keeper's. When Take
// returns, the keeper has stopped reading the stream. It does not start again before Return or the end of the
// connection.
//
// Errors: NotFound if no such stream is held, FailedPrecondition if a connection has it already (this one
// included), Unavailable if the keeper cannot stop moving the stream because the raw file's disk does not answer
// within 10 seconds. When ctx ends first, the stream is not taken.
func (c *Client) Take(ctx context.Context, key, name string) (stream, raw *os.File, err error) {
	a, err := c.call(ctx, wire.Request{Op: wire.OpTake, Key: key, Name: name})
	if err != nil {
		return nil, nil, err
	}
	want := 1
	if a.Raw {
		want = 2
	}
	if len(a.Files) != want {
		wire.CloseFiles(a.Files)
		return nil, nil, fmt.Errorf("cannot take %s of %q: %d descriptors in the answer instead of %d: %w",
			name, key, len(a.Files), want, errdefs.ErrInternal)
	}
	if a.Raw {
		raw = a.Files[1]
	}
	return a.Files[0], raw, nil
}

// Return gives a taken stream back. The caller must have stopped reading it: the keeper may read before Return returns.
// Errors: NotFound if no such stream is held, FailedPrecondition if this client doesn't have it.
func (c *Client) Return(ctx context.Context, key, name string) error {
	_, err := c.call(ctx, wire.Request{Op: wire.OpReturn, Key: key, Name: name})
	return err
}

// Release makes the keeper close a stream, whoever has it; with an empty name, all streams of the key. It is no
// error if the keeper holds none. When Release returns nil, the keeper does not touch the streams or their raw
// files any more. Errors: Unavailable if a raw file's disk does not answer within 10 seconds.
func (c *Client) Release(ctx context.Context, key, name string) error {
	_, err := c.call(ctx, wire.Request{Op: wire.OpRelease, Key: key, Name: name})
	return err
}

// List returns all held streams, ordered by key and name. It asks for 128 streams at a time, so a longer list is not of
// one moment.
func (c *Client) List(ctx context.Context) ([]Held, error) {
	var all []Held
	for next := (wire.Request{Op: wire.OpList}); ; {
		a, err := c.call(ctx, next)
		if err != nil {
			return nil, err
		}
		for _, held := range a.Held {
			all = append(all, Held(held))
		}
		if !a.More || len(a.Held) == 0 {
			return all, nil
		}
		next.Key, next.Name = all[len(all)-1].Key, all[len(all)-1].Name
	}
}

// Lookup returns the exit of the process that has, or had, this pid and start time. It does not find a process that
// runs, one that was never the keeper's child, an exit after Forget, or one that is older than 65,536 others in the
// ledger.
func (c *Client) Lookup(ctx context.Context, pid int, startTime uint64) (exit Exit, found bool, err error) {
	a, err := c.call(ctx, wire.Request{Op: wire.OpLookup, Pid: pid, Start: startTime})
	if err != nil || len(a.Exits) == 0 {
		return Exit{}, false, err
	}
	return Exit(a.Exits[0]), true, nil
}

// Forget drops the exit of a process from the ledger. The caller should have stored the exit before. It is no error if
// the ledger has no such exit.
func (c *Client) Forget(ctx context.Context, pid int, startTime uint64) error {
	_, err := c.call(ctx, wire.Request{Op: wire.OpForget, Pid: pid, Start: startTime})
	return err
}

// Exits calls fn with every exit in the ledger and then with each new one, in the order of Seq. It leaves none out
// and repeats none. It returns when ctx ends, when fn returns an error, or when the keeper is gone, and never
// returns nil. It has a connection of its own, so fn may call other methods and may take its time: exits wait in
// the ledger, and the keeper reaps without waiting for fn.
//
// Errors: ctx's or fn's own; Unavailable if the keeper is gone or Close was called; OutOfRange if fn was so slow that
// the ledger has dropped exits that fn had not seen. After OutOfRange, call Exits again, and look which of the
// processes that should run have ended.
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
