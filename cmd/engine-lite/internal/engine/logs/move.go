package logs

import (
	"errors"
	"io"
	"os"
	"time"

	log "github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/retry"
)

const (
	// moveChunk is what one splice moves at most: a whole pipe.
	moveChunk = 1 << 20
	// encoderLead is how far a mover gets ahead of the encoder: little, so that
	// what is encoded still is in the processor's cache and was not yet written
	// to disk when it is freed. The keeper has the rest of the bound.
	encoderLead = 2 << 20
)

// move brings the stream to where it is wanted until it ends.
func (o *Output) move(r *raw, src Source) {
	for delay := newBackoff(); ; {
		n, err := o.bring(r, src)
		if errors.Is(err, errClosed) {
			return // the rest stays where it is
		}
		if err != nil && retryable(err) && o.lossy() {
			if err = dropRefused(src); err == nil {
				continue
			}
		}
		if err != nil && retryable(err) {
			o.tookDisk(false)
			if delay.First() {
				o.entry(err).Errorf("cannot take the %s of a process: it waits", r.name)
			}
			if delay.Wait(o.ctx) != nil {
				return
			}
			continue
		}
		if !delay.First() {
			o.tookDisk(true)
			delay.Reset()
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
			o.moved(r, n, nil)
			o.discard(r.name, src, err)
			err = io.EOF
		}
		o.moved(r, n, err)
		if err != nil {
			return
		}
	}
}

// bring moves some of the stream: directly to its only follower, or into its raw
// file, and then returns how much. errClosed at Close.
func (o *Output) bring(r *raw, src Source) (int64, error) {
	if d, ok := src.(directSource); ok && o.log == nil {
		for {
			if direct, err := o.direct(r, d); err != nil {
				return 0, err
			} else if !direct {
				break
			}
		}
	}
	at, err := o.room(r)
	if err != nil {
		return 0, err
	}
	return src.Splice(r.file, at, moveChunk)
}

// retryable tells errors that will pass when somebody makes room.
func retryable(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.ENOMEM)
}

// moved notes what came, and the end: io.EOF, or os.ErrClosed.
func (o *Output) moved(r *raw, n int64, err error) {
	o.mu.Lock()
	r.size += n
	r.ended = r.ended || errors.Is(err, io.EOF)
	r.cut = r.cut || errors.Is(err, os.ErrClosed)
	o.changedLocked()
	o.mu.Unlock()
	o.free(r)
}

// room waits until the stream's readers are near enough, and returns where the
// next bytes go.
func (o *Output) room(r *raw) (int64, error) {
	for since := o.now(); ; {
		at, wait, cut := o.tryRoom(r, since)
		if o.ctx.Err() != nil {
			return 0, errClosed
		}
		if wait == nil {
			return at, nil
		}
		select {
		case <-wait:
		case <-cut:
		case <-o.ctx.Done():
		}
	}
}

// tryRoom returns where the next bytes go, or what to wait for. The mover has
// waited since a time.
func (o *Output) tryRoom(r *raw, since time.Duration) (at int64, wait <-chan struct{}, cut <-chan time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	near := o.nearLocked(r)
	if !near {
		cut = o.cutLocked(r, since)
		near = o.nearLocked(r)
	}
	r.held = !near && r.size-r.slowestFollower() >= o.config.Bound
	if !near {
		wait = o.waitLocked()
	}
	return r.size, wait, cut
}

// nearLocked says whether those that the mover waits for are near enough: the
// encoder, and until the exit the followers.
func (o *Output) nearLocked(r *raw) bool {
	if o.log != nil && r.size-r.encoded >= o.lead() {
		return false
	}
	return o.exited || r.size-r.slowestFollower() < o.config.Bound
}

// lagTime is how long a mover that has a log to fill waits for a client that
// takes nothing. It is less than the time for which the runtime daemon waits, at
// the exit, until a terminal's last output finds room in the pipe.
const lagTime = time.Second

// cutLocked cuts off the followers that the mover has waited for since a time,
// and that took nothing for too long. It tells when to look at the next one.
// Without a log the followers are all there is, and are waited for.
func (o *Output) cutLocked(r *raw, since time.Duration) <-chan time.Time {
	if o.log == nil {
		return nil
	}
	now, next := o.now(), time.Duration(0)
	for f := range r.followers {
		if r.size-f.position[r.name] < o.config.Bound {
			continue
		}
		left := max(since, time.Duration(f.took.Load())) + o.lagTime - now
		switch {
		case left <= 0:
			f.lagging = true
			f.leaveLocked()
			o.changedLocked()
		case next == 0 || left < next:
			next = left
		}
	}
	if next == 0 {
		return nil
	}
	return time.After(next)
}

// now is the time since the output was opened.
func (o *Output) now() time.Duration { return time.Since(o.opened) }

// discard reads a stream to its end that can't be kept, so that its writer isn't
// held up for ever by our trouble, and says so.
func (o *Output) discard(name string, src Source, cause error) {
	o.entry(cause).Errorf("cannot store the %s of a process; the rest of it is read and dropped", name)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		o.entry(err).Errorf("cannot drop the %s of a process; the process waits when the pipe is full", name)
		return
	}
	defer func() { _ = null.Close() }()
	for err == nil && o.ctx.Err() == nil {
		_, err = src.Splice(null, 0, moveChunk)
	}
}

func (o *Output) entry(err error) *log.Entry {
	return log.WithError(err).WithField("dir", o.config.Dir)
}

// newBackoff returns the delays between two tries to write to a disk that is full.
func newBackoff() *retry.Backoff { return retry.New(50*time.Millisecond, 5*time.Second) }
