package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// input is the client's stdin. It is an [io.ReadCloser]: Close makes a Read
// that waits return.
type input struct {
	conn net.Conn
	// buffered holds what came with the request, and is read first.
	buffered *bufio.Reader
	// early is the number of bytes that came with the request.
	early int
	// ended is called when the peer is gone and nothing of it is left to read.
	ended func()

	used, eof, gone, closed atomic.Bool
}

// Read reads from the client. io.EOF means that it won't send any more; it may
// still want output.
func (in *input) Read(p []byte) (int, error) {
	in.used.Store(true)
	if in.closed.Load() {
		return 0, os.ErrClosed
	}
	n, err := in.read(p)
	if err != nil {
		in.eof.Store(true)
		if in.gone.Load() {
			in.ended()
		}
	}
	if in.closed.Load() {
		// The process is gone or was let go: what was typed isn't for it.
		return 0, os.ErrClosed
	}
	return n, err
}

func (in *input) read(p []byte) (int, error) {
	if n := in.buffered.Buffered(); n > 0 {
		return in.buffered.Read(p[:min(n, len(p))])
	}
	n, err := in.conn.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot read from the client: %w", err)
	}
	return n, err
}

// Close makes a Read that waits, and later ones, return. The connection stays.
func (in *input) Close() error {
	in.closed.Store(true)
	return in.conn.SetReadDeadline(time.Unix(1, 0))
}

// hungUp is told that the peer is gone. What the client sent before is delivered
// first: then the end of it ends the session.
func (in *input) hungUp() {
	in.gone.Store(true)
	if in.eof.Load() || !in.used.Load() && !in.unread() {
		in.ended()
	}
}

// unread tells whether something was sent that nobody has begun to read.
func (in *input) unread() bool {
	if in.early > 0 {
		return true
	}
	raw, err := rawConn(in.conn)
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return err == nil && n > 0
}
