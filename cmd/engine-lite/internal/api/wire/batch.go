// Package wire is how bytes get to the clients of the API: answers that grow, the frames of two streams over one
// connection, and clients that hang up.
package wire

import (
	"io"
	"sync"
)

const (
	// batchBound is how many bytes may wait for the client, before a writer does.
	batchBound = 64 << 10
	// batchKeep is the largest buffer that is used again.
	batchKeep = 256 << 10
)

// Batch is the body of an answer that grows. A write goes out at once. Bytes that
// are written while an earlier write is on its way go out together with the next
// write, so that a burst costs a few flushes rather than one for each record.
// Several goroutines may write.
//
// A goroutine sends. Close ends the goroutine and waits for it.
type Batch struct {
	out  io.Writer
	sent sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	pending []byte
	spare   []byte
	closed  bool
	err     error
}

// NewBatch begins to send to out, where each write has to be a flush.
func NewBatch(out io.Writer) *Batch {
	b := &Batch{out: out}
	b.changed.L = &b.mu
	b.sent.Go(b.send)
	return b
}

// Write waits only while more than batchBound is pending. It fails with the
// error of an earlier write to the client.
func (b *Batch) Write(p []byte) (int, error) {
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
func (b *Batch) Close() error {
	b.mu.Lock()
	b.closed = true
	b.changed.Broadcast()
	b.mu.Unlock()
	b.sent.Wait()
	return b.err
}

func (b *Batch) send() {
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
func (b *Batch) take() []byte {
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
func (b *Batch) give(p []byte, err error) {
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
