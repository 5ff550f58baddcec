package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// followChunk is what a follower reads at once.
const followChunk = 256 << 10

var followBuffers = sync.Pool{New: func() any { return new([followChunk]byte) }}

// FollowOptions say what a follower wants.
type FollowOptions struct {
	// Stdout and Stderr choose the streams. A follower of neither has nothing to
	// copy, and ends with the output.
	Stdout, Stderr bool
	// Logged begins with what is in the log, and goes on with what came after
	// it; without it the follower begins with what comes from now on.
	Logged bool
}

// Follower is one client of an output, with a position in each stream. It
// starts no goroutine.
type Follower struct {
	output *Output
	want   FollowOptions
	err    error // why it can't follow
	// logged is where the part of the log ends that is replayed first; nil for none.
	logged *extent
	turn   int      // the stream that is looked at first
	conn   net.Conn // that gets the frame
	// took is when it took something for the last time, as Output.now.
	took atomic.Int64

	// What follows is guarded by the output's lock.
	position map[string]int64
	state    followerState
	lagging  bool              // it was cut off
	recalled bool              // somebody waits for the end of a borrow
	sockets  map[string]Socket // that the movers may splice past, while in Copy
	frame    openFrame         // touched by who has the follower, without the lock
}

// Follow begins to follow at the moment of the call, also before Start. The
// caller closes the follower.
func (o *Output) Follow(want FollowOptions) *Follower {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := &Follower{output: o, want: want, position: map[string]int64{}}
	replay := want.Logged && o.log != nil
	for i := range streamNames {
		if !f.wants(i) {
			continue
		}
		r, err := o.rawLocked(i)
		if err != nil {
			f.err = err
			return f
		}
		f.position[r.name] = r.size
		if replay {
			f.position[r.name] = r.encoded
		}
		r.followers[f] = struct{}{}
	}
	if replay {
		logged := o.log.extent
		f.logged = &logged
	}
	o.changedLocked() // a mover may wait for the follower that was alone so far
	return f
}

func (f *Follower) wants(i int) bool {
	return streamNames[i] == Stdout && f.want.Stdout || streamNames[i] == Stderr && f.want.Stderr
}

// Copy writes the output to the client until it ends, and returns nil then. A
// nil writer drops its stream. Copy never writes to both writers at once, and it
// is called once.
//
// From a raw file the bytes are copied, also where the writer is a socket.
// sendfile(2) would only lend it the file's pages, and what waits in the socket's
// queue would turn to zeros when the file's beginning is freed. To a writer that
// is a [Socket] the movers may splice past the file.
//
// Errors: ErrLagging; ctx's; the writer's; os.ErrClosed where the output or its
// sources were closed before their end. A Write that blocks is ended by whoever
// owns the writer, not by ctx.
func (f *Follower) Copy(ctx context.Context, stdout, stderr io.Writer) error {
	if f.err != nil { // nobody borrows it yet
		return f.err
	}
	writers := map[string]io.Writer{Stdout: stdout, Stderr: stderr}
	if f.logged != nil {
		if err := f.replay(ctx, writers); err != nil {
			return err
		}
	}
	if f.output.log == nil {
		f.offer(spliceable(writers))
		defer f.offer(nil)
	}
	for {
		r, at, err := f.next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f.pass(r, at, writers[r.name])
		}
		if err != nil {
			return err
		}
	}
}

// offer lets the movers borrow the follower, with sockets, or no more.
func (f *Follower) offer(sockets map[string]Socket) {
	o := f.output
	o.mu.Lock()
	defer o.mu.Unlock()
	f.state, f.sockets = busy, sockets
	o.changedLocked()
}

// replay writes what the log has.
func (f *Follower) replay(ctx context.Context, writers map[string]io.Writer) error {
	files, err := f.output.openUntil(*f.logged)
	if err != nil {
		return err
	}
	o := ReadOptions{Stdout: f.want.Stdout, Stderr: f.want.Stderr, Tail: -1}
	r := &reader{ReadOptions: o, files: files, fn: func(e Entry) error {
		f.took.Store(int64(f.output.now()))
		if w := writers[e.Stream]; w != nil {
			_, err := w.Write(e.Line)
			return err
		}
		return nil
	}}
	defer r.close()
	return r.readFiles(ctx)
}

// next waits for a stream that is ahead of the follower; io.EOF when all have
// ended. The follower is busy when it returns.
func (f *Follower) next(ctx context.Context) (r *raw, at int64, err error) {
	for {
		ended := ctx.Err()
		r, at, wait, err := f.look(ended)
		switch {
		case errors.Is(err, errFull):
			if err := waitWritable(f.conn); err != nil {
				return nil, 0, err
			}
		case wait == nil:
			return r, at, err
		case ended != nil: // a mover has the follower, for a moment
			<-wait
		default:
			select {
			case <-wait:
			case <-ctx.Done():
			}
		}
	}
}

// errFull says that it is the client that has to be waited for.
var errFull = errors.New("the client takes no more")

// look finds what the follower has to do next, or what it has to wait for.
func (f *Follower) look(ended error) (r *raw, at int64, wait <-chan struct{}, err error) {
	o := f.output
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.state == borrowed {
		f.recalled = true
		return nil, 0, o.waitLocked(), nil
	}
	was := f.state
	f.state = busy
	switch {
	case ended != nil:
		return nil, 0, nil, ended
	case f.err != nil:
		return nil, 0, nil, f.err
	case f.lagging:
		return nil, 0, nil, ErrLagging
	case was == full:
		return nil, 0, nil, errFull
	}
	if r, at, err := f.readyLocked(); r != nil || err != nil {
		return r, at, nil, err
	}
	f.state = idle
	if was != idle && f.sockets != nil {
		o.changedLocked() // a mover may wait for it
	}
	return nil, 0, o.waitLocked(), nil
}

// readyLocked finds a stream that is ahead of the follower, the two in turns, or
// the end.
func (f *Follower) readyLocked() (*raw, int64, error) {
	o := f.output
	if o.closed {
		return nil, 0, errClosed
	}
	end := io.EOF
	if !o.started {
		end = nil
	}
	for k := range o.streams {
		i := (f.turn + k) % len(o.streams)
		r := o.streams[i]
		if r == nil {
			continue
		}
		at, follows := f.position[r.name]
		switch {
		case f.frame.left > 0 && f.frame.r != r: // not within another one's frame
			end = nil
		case follows && at < r.size:
			f.turn = i + 1
			return r, at, nil
		case f.frame.left > 0 && r.over():
			return nil, 0, fmt.Errorf("%s ended within a frame: %w", r.name, io.ErrUnexpectedEOF)
		case !follows && len(f.position) > 0: // not the follower's
		case !r.over():
			end = nil
		case r.cut && end != nil:
			end = errClosed
		}
	}
	return nil, 0, end
}

// pass writes some of what came after at.
func (f *Follower) pass(r *raw, at int64, w io.Writer) error {
	if w == nil {
		f.advance(r, at, f.output.sizeOf(r)-at)
		return nil
	}
	buf := followBuffers.Get().(*[followChunk]byte)
	defer followBuffers.Put(buf)
	if f.frame.left > 0 {
		return f.repay(r, at, buf[:])
	}
	n, err := f.read(r, at, buf[:])
	if err != nil {
		return err
	}
	_, err = w.Write(buf[:n])
	return err
}

func (o *Output) sizeOf(r *raw) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return r.size
}

// read reads at a position and moves it on. What was freed meanwhile is a hole
// and must not be delivered.
func (f *Follower) read(r *raw, at int64, buf []byte) (int, error) {
	buf = buf[:min(int64(len(buf)), f.output.sizeOf(r)-at)]
	n, err := r.file.ReadAt(buf, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if !f.advance(r, at, int64(n)) {
		return 0, ErrLagging
	}
	return n, nil
}

// advance moves the position from at on by n; false if the follower was cut off,
// and what was there may have been freed by then.
func (f *Follower) advance(r *raw, at, n int64) bool {
	o := f.output
	f.took.Store(int64(o.now()))
	o.mu.Lock()
	lagging := f.lagging
	f.position[r.name] = at + n
	if o.log == nil || r.held {
		o.changedLocked() // the mover may wait for this follower
	}
	o.mu.Unlock()
	o.free(r)
	return !lagging
}

// leaveLocked lets the movers go on without the follower.
func (f *Follower) leaveLocked() {
	for _, r := range f.output.streams {
		if r != nil {
			delete(r.followers, f)
		}
	}
}

// Close ends the follower; Copy has to have returned.
func (f *Follower) Close() error {
	o := f.output
	o.mu.Lock()
	f.leaveLocked()
	left := o.streams
	o.changedLocked()
	o.mu.Unlock()
	for _, r := range left {
		if r != nil {
			o.free(r)
		}
	}
	return nil
}
