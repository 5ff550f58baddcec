package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The names of the streams.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// streamNames are the streams in the order of their positions in the position
// file.
var streamNames = [...]string{Stdout, Stderr}

// DefaultBound is how many bytes of a stream are kept for those that lag.
const DefaultBound = 64 << 20

// Source is the reading end of a process's stream. *fifo.Reader is one.
type Source interface {
	// Splice moves at most max bytes to dst at offset off. It waits for the
	// first byte. It returns io.EOF when the process has ended and the rest was
	// read, and os.ErrClosed when its owner has closed it.
	Splice(dst *os.File, off int64, max int) (int64, error)
}

// Config says where an Output keeps what.
type Config struct {
	// Dir holds the raw files and the encoder's position. It is made with mode
	// 0700, if its parent is there: that of a removed container is not made
	// again. Nobody else writes to it, but the keeper to the end of raw files.
	Dir string
	Log Log
	// Bound in bytes, for each stream; 0 is DefaultBound.
	Bound int64
}

// ErrLagging ends a follower beside a log that was as far behind as the bound and
// took nothing for lagTime.
var ErrLagging = errors.New("the client read too slowly and was cut off")

// errClosed ends a follower whose output ended before its process.
var errClosed = fmt.Errorf("the output is closed: %w", fs.ErrClosed)

// Output is the output of one run of a process. Its methods may be called from
// any goroutine.
type Output struct {
	config  Config
	opened  time.Time
	ctx     context.Context // ends at Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup // of movers and the encoder
	drained chan struct{}
	log     *logFile // nil where nothing is logged

	patience, lagTime time.Duration // the constants', but in tests

	mu      sync.Mutex
	wake    chan struct{} // made by who waits, closed by who changes something
	streams [len(streamNames)]*raw
	started bool // no other stream will come
	exited  bool // the movers wait for no client any more
	closed  bool
	settled bool // drained is closed
	// refused is set while the disk takes nothing; stalled is closed when it
	// does so after the exit.
	refused bool
	stalled chan struct{}
	// encoding is set while the encoder's goroutine runs; turn is the stream
	// that it looks at first.
	encoding bool
	turn     int
	dropped  bool // it was told that lines are lost; the encoder has it
	// compressing is closed when the rotated files are compressed; nil while
	// nothing is being compressed.
	compressing chan struct{}
}

// Open begins an output, or picks up what an earlier engine, and the keeper
// after it, left in c.Dir. The caller owns the output and closes it.
func Open(c Config) (*Output, error) {
	if c.Bound == 0 {
		c.Bound = DefaultBound
	}
	if err := os.Mkdir(c.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot open output: %w", err)
	}
	o := &Output{config: c, opened: time.Now(), drained: make(chan struct{}), stalled: make(chan struct{}), patience: patience, lagTime: lagTime}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	if err := o.pickUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open output: %w", err), o.Close())
	}
	return o, nil
}

// pickUp opens the raw files that are there already, and the log.
func (o *Output) pickUp() error {
	for i, name := range streamNames {
		if _, err := os.Lstat(o.path(name)); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if _, err := o.openRaw(i); err != nil {
			return err
		}
	}
	if o.config.Log.Path == "" {
		return nil
	}
	var err error
	o.log, err = openLog(o.config.Log, o.path(positionName), &o.streams)
	return err
}

// positionName is the file beside the raw files that says how far the encoder
// came.
const positionName = "position"

func (o *Output) path(name string) string { return filepath.Join(o.config.Dir, name) }

// Raw is the raw file of a stream, made if it isn't there, open for reading and
// writing. It stays the output's; give another process a duplicate of its
// descriptor.
func (o *Output) Raw(stream string) (*os.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, name := range streamNames {
		if name != stream {
			continue
		}
		r, err := o.rawLocked(i)
		if err != nil {
			return nil, err
		}
		return r.file, nil
	}
	return nil, fmt.Errorf("there is no stream %q", stream)
}

// Start begins to move the streams; nil is a stream that isn't there. It is
// called at most once; after Remove or Close it does nothing. The sources remain
// their owner's. The goroutines end with their sources; see Close.
func (o *Output) Start(stdout, stderr Source) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.started || o.closed {
		return
	}
	for i, src := range []Source{stdout, stderr} {
		if src != nil {
			o.startStreamLocked(i, src)
		}
	}
	o.beginLocked()
	o.compressLocked()
}

// beginLocked says that no other stream will come. Those without a mover are at
// their end.
func (o *Output) beginLocked() {
	o.started = true
	for _, r := range o.streams {
		if r != nil && !r.live {
			r.ended = true
		}
	}
	o.changedLocked()
}

func (o *Output) startStreamLocked(i int, src Source) {
	r, err := o.rawLocked(i)
	if err == nil {
		err = r.measure()
	}
	if err != nil {
		o.wg.Go(func() { o.discard(streamNames[i], src, err) })
		return
	}
	r.live = true
	o.wg.Go(func() { o.move(r, src) })
}

// Exited says that the process has exited. The movers don't wait for clients any
// more: what is left in a pipe is little, and no client shall delay the news of
// the exit.
func (o *Output) Exited() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.exited = true
	o.stallLocked()
	o.changedLocked()
}

// Stalled is closed when the process has exited and the disk doesn't take what
// is left of its output: the news of the exit need not wait for that. The output
// goes on trying.
func (o *Output) Stalled() <-chan struct{} { return o.stalled }

// tookDisk notes whether the disk took something.
func (o *Output) tookDisk(ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused = !ok
	o.stallLocked()
}

func (o *Output) stallLocked() {
	if !o.exited || !o.refused {
		return
	}
	select {
	case <-o.stalled:
	default:
		close(o.stalled)
	}
}

// Drained is closed when each source has ended and all of it is in the log. A
// source that its owner closed before its end counts, but an unfinished line at
// its end stays in the raw file. It is also closed when the output was removed or
// closed and never started.
func (o *Output) Drained() <-chan struct{} { return o.drained }

// settleLocked closes drained once nothing is left to be done.
func (o *Output) settleLocked() {
	if o.settled || !o.started || o.encoding {
		return
	}
	for _, r := range o.streams {
		if r != nil && (!r.over() || o.log != nil && r.pending()) {
			return
		}
	}
	o.settled = true
	close(o.drained)
}

func (o *Output) isSettled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settled
}

// changedLocked has to follow every change of what others may wait for.
func (o *Output) changedLocked() {
	o.kickLocked()
	o.settleLocked()
	if o.wake != nil {
		close(o.wake)
		o.wake = nil
	}
}

// waitLocked returns a channel that is closed at the next change.
func (o *Output) waitLocked() <-chan struct{} {
	if o.wake == nil {
		o.wake = make(chan struct{})
	}
	return o.wake
}

// Remove takes the names of the raw files away, and keeps the log. Who has the
// files open reads on. An output that was never started is at its end with
// that.
func (o *Output) Remove() error {
	o.mu.Lock()
	if !o.started {
		o.beginLocked()
	}
	o.mu.Unlock()
	// The position goes last: after a crash in between there must be no raw file
	// without it.
	for _, name := range append(streamNames[:], positionName) {
		if err := os.Remove(o.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot remove output: %w", err)
		}
	}
	if err := os.RemoveAll(o.config.Dir); err != nil {
		return fmt.Errorf("cannot remove output: %w", err)
	}
	return nil
}

// Close ends encoder and movers and waits for them: a Splice that waits is not
// ended by it, so the sources have to be at their end or closed by their owner.
// It waits for no follower: they get an error. If all of the output is in the
// log, Close lets a compression of rotated files end, else the next Open goes on
// with it. The files stay, unless they were removed, for the next Open. It may be
// called again.
func (o *Output) Close() error {
	if o.isSettled() {
		_ = o.awaitCompressed() // fails only if it was closed before
	}
	o.cancel()
	o.mu.Lock()
	o.closed = true
	if !o.started && !o.settled {
		o.settled = true
		close(o.drained)
	}
	o.changedLocked()
	o.mu.Unlock()
	o.wg.Wait()
	var errs []error
	for _, r := range o.streams { // nobody adds one any more
		if r != nil {
			errs = append(errs, r.close())
		}
	}
	if o.log != nil {
		errs = append(errs, o.log.close())
	}
	return errors.Join(errs...)
}
