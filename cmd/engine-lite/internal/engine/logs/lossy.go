package logs

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A process with Log.Buffer set doesn't wait for its log. Lines are lost instead: those of which the encoder is behind by
// more than the buffer, but never all of them, and those that the disk doesn't take. Attached clients lose only the
// latter. What an earlier engine or the keeper has taken is not lost, however much that is.

// lossy says that the process doesn't wait for its log.
func (o *Output) lossy() bool { return o.log != nil && o.config.Log.Buffer > 0 }

// lead is how far a mover gets ahead of the encoder.
func (o *Output) lead() int64 {
	if o.lossy() {
		return o.config.Bound
	}
	return min(encoderLead, o.config.Bound)
}

// skipTo is where the encoder, which is at a position, goes on: behind the lines that don't fit into the buffer. The end
// of the stream is at size.
func (o *Output) skipTo(r *raw, at, size int64, buf []byte) (int64, error) {
	buffer := min(o.config.Log.Buffer, o.config.Bound/2) // so that a mover, which waits at the bound, needn't
	if !o.lossy() || at < r.taken || size-at <= buffer {
		return at, nil
	}
	for from := size - buffer; from < size; from += int64(len(buf)) {
		part := buf[:min(int64(len(buf)), size-from)]
		if _, err := r.file.ReadAt(part, from); err != nil {
			return at, err
		}
		if i := bytes.IndexByte(part, '\n'); i >= 0 && from+int64(i)+1 < size {
			return from + int64(i) + 1, nil
		}
	}
	return o.lastLine(r, at, size, buf)
}

// lastLine is where the last line before size begins. It is longer than the buffer, and kept all the same: an idle process
// would lose each of such lines. Of a line that a mover would have to wait for, only the end is kept.
func (o *Output) lastLine(r *raw, at, size int64, buf []byte) (int64, error) {
	oldest := max(at, size-o.config.Bound/2)
	for end := size - 1; end > oldest; { // the line's own end does not count
		part := buf[:min(int64(len(buf)), end-oldest)]
		from := end - int64(len(part))
		if _, err := r.file.ReadAt(part, from); err != nil {
			return at, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return oldest, nil
}

// drop goes on behind output that a lossy log doesn't get. At Close it leaves the output to the next engine, which also
// logs the output if the note fails.
func (o *Output) drop(i int, to int64, cause error) {
	if !o.lossy() || o.ctx.Err() != nil {
		return
	}
	if !o.dropped {
		o.dropped = true
		o.entry(cause).WithField("log", o.config.Log.Path).Warn(
			"a log takes less than its process writes, and lines of the output are lost; this is told once for each run")
	}
	if o.append(nil, i, to) == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.streams[i].encoded = to
	o.changedLocked()
}

var errBuffer = errors.New("the buffer is full")

// dropRefused reads and drops some of a stream that the disk doesn't take. Errors are the source's.
func dropRefused(src Source) error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = src.Splice(null, 0, moveChunk)
	if errors.Is(err, io.EOF) {
		err = nil // the next one tells
	}
	return errors.Join(err, null.Close())
}
