package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	log "github.com/sirupsen/logrus"
)

// longestRecord is how long a line of a log may be, in bytes. Records of ours
// have less than 100 KiB; a longer line is none.
const longestRecord = 256 << 10

// ReadOptions say which entries of a log are wanted.
type ReadOptions struct {
	Stdout, Stderr bool
	// Since and Until bound the entries' times, both included; zero times don't.
	Since, Until time.Time
	// Tail is the number of entries from the end, of those that are wanted;
	// negative for all.
	Tail int
	// Output is the one that writes to the log; nil where none does.
	Output *Output
	// Follow goes on with what the output logs until it is drained or closed, or
	// Until has passed.
	Follow bool
}

func (o ReadOptions) wants(e Entry) bool {
	if e.Stream == Stderr && !o.Stderr || e.Stream != Stderr && !o.Stdout {
		return false
	}
	return o.Since.IsZero() || !e.Time.Before(o.Since)
}

func (o ReadOptions) past(e Entry) bool { return !o.Until.IsZero() && e.Time.After(o.Until) }

// Read hands over the entries of the log at path, in their order; an entry is
// valid until fn returns. A part of a line that was longer than 16 KiB is an
// entry of its own. A log that isn't there yet is empty. A last line that isn't
// whole is left out; any other line that is no record is left out with a warning,
// so that one damaged place doesn't hide the rest.
//
// The rotated files come first. A followed log is read on in the next file after a rotation. If that file is gone, since
// the log was rotated more often than it has files, the error is ErrLagging. A log that somebody empties while it is
// followed is read on from its beginning.
//
// Errors: ctx's, fn's, the files'.
func Read(ctx context.Context, path string, o ReadOptions, fn func(Entry) error) error {
	if o.Output != nil && o.Output.log == nil {
		o.Output = nil
	}
	r := &reader{ReadOptions: o, path: path, fn: fn}
	defer r.close()
	err := r.open()
	if err == nil {
		err = r.seekTail(ctx)
	}
	for more := true; err == nil && more; {
		if err = r.readFiles(ctx); err == nil {
			more, err = r.more(ctx)
		}
	}
	if errors.Is(err, errUntil) {
		return nil
	}
	return err
}

// reader reads a log's files one after the other.
type reader struct {
	ReadOptions
	path string
	fn   func(Entry) error
	// files are those that are open and not read to their end, the oldest first, and the current one. Of that one the
	// output says the length.
	files parts
	end   extent
}

func (r *reader) close() { r.files.close() }

// open opens the files that are there. A log that is followed has a current one.
func (r *reader) open() (err error) {
	if r.Output == nil {
		r.files, err = openParts(r.path, 0, -1, r.Since)
		return err
	}
	r.files, r.end, err = r.Output.openAll(r.Since)
	if err == nil && r.Follow && !r.files.limit(0, r.end.size) {
		err = fmt.Errorf("cannot read log: %s: %w", r.path, fs.ErrNotExist)
	}
	return err
}

// readFiles reads what the files have, and closes all but the current one.
func (r *reader) readFiles(ctx context.Context) error {
	for len(r.files) > 0 {
		p := &r.files[0]
		if err := p.read(ctx, r.ReadOptions, r.fn); err != nil {
			return err
		}
		p.from = p.size
		if len(r.files) == 1 {
			break
		}
		p.close()
		r.files = r.files[1:]
	}
	return nil
}

// more waits until a log that is followed has more; false when no more comes. It is errUntil when no more comes before
// until, and ErrLagging when what came is gone.
func (r *reader) more(ctx context.Context) (bool, error) {
	if r.Output == nil || !r.Follow || len(r.files) == 0 {
		return false, nil
	}
	next, err := r.Output.grown(ctx, r.end, r.Until)
	if err != nil || next == r.end {
		return false, err
	}
	current := &r.files[0]
	if next.rotations == r.end.rotations {
		if next.resets != r.end.resets {
			current.from = 0
		}
		current.size, r.end = next.size, next
		return true, nil
	}
	if err := current.complete(); err != nil {
		return false, err
	}
	newer, now, err := r.Output.openNewer(r.end.rotations)
	if err != nil {
		return false, err
	}
	r.files, r.end = append(r.files, newer...), now
	return true, nil
}

// grown waits until the log is longer than it was, and returns its length; the
// old one when no more comes. It is errUntil when no more comes before until.
func (o *Output) grown(ctx context.Context, old extent, until time.Time) (extent, error) {
	var passed <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		passed = timer.C
	}
	for {
		o.mu.Lock()
		now := o.log.extent
		over, wait := o.settled || o.closed, o.waitLocked()
		o.mu.Unlock()
		if now != old || over {
			return now, nil
		}
		select {
		case <-wait:
		case <-passed:
			return old, errUntil
		case <-ctx.Done():
			return old, ctx.Err()
		}
	}
}

var errUntil = errors.New("past the last time asked for")

var lineReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, longestRecord) }}

// readEntries decodes whole records and hands over those that are wanted.
func readEntries(ctx context.Context, r io.Reader, o ReadOptions, fn func(Entry) error) error {
	lines := lineReaders.Get().(*bufio.Reader)
	lines.Reset(r)
	defer func() {
		lines.Reset(nil)
		lineReaders.Put(lines)
	}()
	var d decoder
	damaged := 0
	defer func() {
		if damaged > 0 {
			log.Warnf("%d lines of a container's log are damaged; the answer leaves them out", damaged)
		}
	}()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil // the rest is no whole record
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			err = skipLine(lines)
			line = nil
		}
		if err != nil {
			return fmt.Errorf("cannot read log: %w", err)
		}
		e, ok := d.decode(line)
		switch {
		case !ok:
			damaged++
		case o.past(e):
			return errUntil
		case o.wants(e):
			if err := fn(e); err != nil {
				return err
			}
		}
	}
}

// skipLine reads to the end of a line, or of the file.
func skipLine(lines *bufio.Reader) error {
	for {
		_, err := lines.ReadSlice('\n')
		if err == nil || errors.Is(err, io.EOF) {
			return nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
