package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// seekTail leaves the files, and the parts of them, that have the last Tail wanted entries.
func (r *reader) seekTail(ctx context.Context) error {
	left := r.Tail
	if left < 0 {
		return nil
	}
	for i := len(r.files) - 1; i >= 0; i-- {
		n, whole, err := r.files[i].seekTail(ctx, r.ReadOptions, left)
		if err != nil {
			return err
		}
		if left -= n; left == 0 || !whole {
			r.files[:i].close()
			r.files = r.files[i:]
			break
		}
	}
	return nil
}

// seekTail finds where the last of the wanted entries begin, at most limit. It returns how many there are, and whether
// the file before may have more.
func (p *part) seekTail(ctx context.Context, o ReadOptions, limit int) (n int, whole bool, err error) {
	if !p.compressed {
		p.from, n, whole, err = tailOffset(p.file, p.size, o, limit)
		return n, whole, err
	}
	// A compressed file has no way backwards.
	err = p.read(ctx, o, func(Entry) error { n++; return nil })
	if err != nil && !errors.Is(err, errUntil) {
		return 0, false, err
	}
	p.skip = max(0, n-limit)
	return n - p.skip, true, nil
}

// tailOffset finds where the last wanted entries begin, at most limit, reading
// backwards. It returns how many there are, and whether earlier ones could be
// wanted, too.
func tailOffset(file io.ReaderAt, end int64, o ReadOptions, limit int) (start int64, n int, whole bool, err error) {
	var d decoder
	back := backwards{file: file, at: end}
	start = end
	for n < limit {
		line, at, err := back.line()
		if errors.Is(err, io.EOF) {
			return start, n, true, nil
		}
		if err != nil {
			return 0, 0, false, fmt.Errorf("cannot read log: %w", err)
		}
		e, ok := d.decode(line)
		if !ok {
			continue // reading forwards leaves it out, too
		}
		if !o.Since.IsZero() && e.Time.Before(o.Since) {
			return start, n, false, nil
		}
		if o.wants(e) && !o.past(e) {
			n++
		}
		start = at
	}
	return start, n, true, nil
}

// backwards reads a file's lines from the end.
type backwards struct {
	file io.ReaderAt
	at   int64  // buf begins here
	buf  []byte // what was read and not yet returned
	long bool   // the end of the line at the end of buf was dropped
}

// line returns the line before those it returned so far, and where it begins;
// io.EOF where there is none. A line longer than longestRecord comes without its
// end.
func (b *backwards) line() ([]byte, int64, error) {
	for {
		body := b.buf
		if !b.long {
			body = bytes.TrimSuffix(body, []byte("\n"))
		}
		if i := bytes.LastIndexByte(body, '\n'); i >= 0 || b.at == 0 && len(b.buf) > 0 {
			line := b.buf[i+1:]
			if b.long {
				line = nil
			}
			b.buf, b.long = b.buf[:i+1], false
			return line, b.at + int64(i+1), nil
		}
		if b.at == 0 {
			return nil, 0, io.EOF
		}
		if len(b.buf) > longestRecord {
			b.buf, b.long = b.buf[:0], true
		}
		if err := b.more(); err != nil {
			return nil, 0, err
		}
	}
}

// more reads the block before buf.
func (b *backwards) more() error {
	step := min(b.at, 64<<10)
	block := make([]byte, step, step+int64(len(b.buf)))
	if _, err := b.file.ReadAt(block, b.at-step); err != nil {
		return err
	}
	b.buf, b.at = append(block, b.buf...), b.at-step
	return nil
}
