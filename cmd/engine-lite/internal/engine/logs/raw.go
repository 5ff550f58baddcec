package logs

import (
	"errors"
	"fmt"
	"os"
	"time"

	log "github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

const (
	// freeStep is how much is freed at once.
	freeStep = 1 << 20
	// freeUnit is what the borders of a hole have to be multiples of, so that it
	// frees whole blocks and pages.
	freeUnit = 64 << 10
)

// raw is one stream. What isn't constant is guarded by the output's lock.
type raw struct {
	name string
	file *os.File

	live  bool  // it has a mover
	size  int64 // bytes that came so far
	ended bool  // no more will come
	cut   bool  // no more will come in this output's time
	// encoded is how much of it is in the log, seen how much was looked at for
	// the end of a line, freed how much of the file is, or soon is, a hole.
	encoded, seen, freed int64
	taken                int64 // what was there before this output's time
	followers            map[*Follower]struct{}
	held                 bool // the mover waits for a follower

	noWaitUntil time.Time // until then the mover, which it belongs to, waits for no client
}

// over says that nothing more comes.
func (r *raw) over() bool { return r.ended || r.cut }

// pending says whether there is something for the encoder to do.
func (r *raw) pending() bool {
	return r.encoded < r.size && (r.ended || r.seen < r.size)
}

// rawLocked returns the raw file of a stream. One that is made after the start
// has no mover, and is at its end.
func (o *Output) rawLocked(i int) (*raw, error) {
	if r := o.streams[i]; r != nil {
		return r, nil
	}
	if o.closed {
		return nil, errClosed
	}
	r, err := o.openRaw(i)
	if err == nil {
		r.ended = o.started
	}
	return r, err
}

// openRaw opens or makes the raw file of a stream.
func (o *Output) openRaw(i int) (*raw, error) {
	f, err := os.OpenFile(o.path(streamNames[i]), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("raw output: %w", err)
	}
	r := &raw{name: streamNames[i], file: f, followers: map[*Follower]struct{}{}}
	if err := r.measure(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	o.streams[i] = r
	return r, nil
}

// measure takes over the size of the file, which the keeper may have grown.
func (r *raw) measure() error {
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("raw output: %w", err)
	}
	r.size = info.Size()
	r.taken = r.size
	return nil
}

func (r *raw) close() error {
	if err := r.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// slowestFollower is the position of the follower that lags most; size where
// there is none.
func (r *raw) slowestFollower() int64 {
	low := r.size
	for f := range r.followers {
		low = min(low, f.position[r.name])
	}
	return low
}

// claimLocked returns what every reader has passed and is to be freed now.
func (o *Output) claimLocked(r *raw) (from, to int64) {
	low := r.slowestFollower()
	if o.log != nil {
		low = min(r.encoded, low)
	}
	low -= low % freeUnit
	if low-r.freed < freeStep {
		return r.freed, r.freed
	}
	from, r.freed = r.freed, low
	return from, low
}

// free gives back what every reader has passed.
func (o *Output) free(r *raw) {
	o.mu.Lock()
	from, to := o.claimLocked(r)
	o.mu.Unlock()
	if from == to {
		return
	}
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	err := r.control(func(fd int) error { return unix.Fallocate(fd, mode, from, to-from) })
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, os.ErrClosed) {
		log.WithError(err).WithField("dir", o.config.Dir).Warn(
			"cannot free the disk space of output that every reader has read")
	}
}

// control calls fn with the descriptor. The error is os.ErrClosed where the file
// is closed, else fn's.
func (r *raw) control(fn func(fd int) error) error {
	conn, err := r.file.SyscallConn()
	if err != nil {
		return os.ErrClosed
	}
	var failure error
	if conn.Control(func(fd uintptr) { failure = fn(int(fd)) }) != nil {
		return os.ErrClosed
	}
	return failure
}
