package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	// Follow goes on with what the output logs until it is drained or closed, or
	// Until has passed; nil to stop at the log's end.
	Follow *Output
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
// A log that somebody empties while it is followed is read on from its beginning.
//
// Errors: ctx's, fn's, the file's.
func Read(ctx context.Context, path string, o ReadOptions, fn func(Entry) error) error {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) && (o.Follow == nil || o.Follow.log == nil) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read log: %w", err)
	}
	defer func() { _ = file.Close() }()
	err = read(ctx, file, o, fn)
	if errors.Is(err, errUntil) {
		return nil
	}
	return err
}

func read(ctx context.Context, file *os.File, o ReadOptions, fn func(Entry) error) error {
	follow := o.Follow
	if follow != nil && follow.log == nil {
		follow = nil
	}
	end, err := logEnd(file, follow)
	if err != nil {
		return err
	}
	start, err := tailOffset(file, end.size, o)
	if err != nil {
		return err
	}
	for {
		section := io.NewSectionReader(file, start, end.size-start)
		if err := readEntries(ctx, section, o, fn); err != nil || follow == nil {
			return err
		}
		next, err := follow.grown(ctx, end, o.Until)
		if err != nil || next == end {
			return err
		}
		start = end.size
		if next.resets != end.resets {
			start = 0
		}
		end = next
	}
}

// extent is how long a log is since it was emptied for the last time.
type extent struct {
	size   int64
	resets int
}

// logEnd is where the log is known to be whole.
func logEnd(file *os.File, follow *Output) (extent, error) {
	if follow != nil {
		follow.mu.Lock()
		defer follow.mu.Unlock()
		return extent{follow.log.size, follow.log.resets}, nil
	}
	info, err := file.Stat()
	if err != nil {
		return extent{}, fmt.Errorf("cannot read log: %w", err)
	}
	return extent{size: info.Size()}, nil
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
		now := extent{o.log.size, o.log.resets}
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
