package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// tailOffset finds where the last o.Tail wanted entries begin, reading
// backwards.
func tailOffset(file io.ReaderAt, end int64, o ReadOptions) (int64, error) {
	if o.Tail < 0 {
		return 0, nil
	}
	var d decoder
	back := backwards{file: file, at: end}
	start := end
	for n := 0; n < o.Tail; {
		line, at, err := back.line()
		if errors.Is(err, io.EOF) {
			return start, nil
		}
		if err != nil {
			return 0, fmt.Errorf("cannot read log: %w", err)
		}
		e, ok := d.decode(line)
		if !ok {
			continue // reading forwards leaves it out, too
		}
		if !o.Since.IsZero() && e.Time.Before(o.Since) {
			return start, nil
		}
		if o.wants(e) && !o.past(e) {
			n++
		}
		start = at
	}
	return start, nil
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
