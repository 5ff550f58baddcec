package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/docker/docker/pkg/ioutils"
)

const (
	// batchBound is how many bytes may wait for the client, before a writer does.
	batchBound = 64 << 10
	// batchKeep is the largest buffer that is used again.
	batchKeep = 256 << 10
)

// batch is the body of an answer that grows. A write goes out at once. Bytes that
// are written while an earlier write is on its way go out together with the next
// write, so that a burst costs a few flushes rather than one for each record.
// Several goroutines may write.
//
// A goroutine sends. Close ends the goroutine and waits for it.
type batch struct {
	out  io.Writer
	sent sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	pending []byte
	spare   []byte
	closed  bool
	err     error
}

// newBatch begins to send to out, where each write has to be a flush.
func newBatch(out io.Writer) *batch {
	b := &batch{out: out}
	b.changed.L = &b.mu
	b.sent.Go(b.send)
	return b
}

// Write waits only while more than batchBound is pending. It fails with the
// error of an earlier write to the client.
func (b *batch) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.pending) >= batchBound && b.err == nil && !b.closed {
		b.changed.Wait()
	}
	switch {
	case b.err != nil:
		return 0, b.err
	case b.closed:
		return 0, io.ErrClosedPipe
	}
	b.pending = append(b.pending, p...)
	b.changed.Broadcast()
	return len(p), nil
}

// Close sends what is pending, and returns the first error of sending.
func (b *batch) Close() error {
	b.mu.Lock()
	b.closed = true
	b.changed.Broadcast()
	b.mu.Unlock()
	b.sent.Wait()
	return b.err
}

func (b *batch) send() {
	for {
		p := b.take()
		if p == nil {
			return
		}
		_, err := b.out.Write(p)
		b.give(p, err)
	}
}

// take waits for something to send; nil is the end.
func (b *batch) take() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.pending) == 0 && !b.closed && b.err == nil {
		b.changed.Wait()
	}
	if len(b.pending) == 0 || b.err != nil {
		return nil
	}
	p := b.pending
	b.pending, b.spare = b.spare[:0], nil
	b.changed.Broadcast()
	return p
}

// give returns a buffer, with the error of sending it.
func (b *batch) give(p []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cap(p) <= batchKeep {
		b.spare = p
	}
	if err != nil {
		b.err = err
		b.changed.Broadcast()
	}
}

// cutTime is how long a write to a client may still take once its stream ended.
const cutTime = 2 * time.Second

// body begins a streamed body. The handler calls end once: end sends what is
// pending, and the response may be used again afterwards. Where the handler panics
// before, ServeHTTP ends the body. A write that is stuck when ctx ends is given up
// after cutTime.
func (w *response) body(ctx context.Context) (body io.Writer, end func() error) {
	control := http.NewResponseController(w.ResponseWriter)
	stop := context.AfterFunc(ctx, func() {
		// Without support for deadlines the server's own closing has to do.
		_ = control.SetWriteDeadline(time.Now().Add(cutTime))
	})
	flusher := ioutils.NewWriteFlusher(w)
	b := newBatch(flusher)
	w.unfinished = func() error {
		w.unfinished = nil
		err := b.Close()
		stop()
		return errors.Join(err, flusher.Close())
	}
	return b, w.unfinished
}
