package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// ClosesStdin tells whether stdin is closed when its first client has gone.
func (l *IO) ClosesStdin() bool { return l.Stdin && l.once && !l.Terminal }

// Client follows the IO for one client: from the moment of the call, so that
// what comes while its connection is taken over isn't missed.
func (l *IO) Client(ctx context.Context, o logs.FollowOptions, keys []byte, open func() (ClientStreams, error)) error {
	if !l.Join() {
		return classed.Errorf(errdefs.ErrConflict, "the process has just ended")
	}
	follower := l.Output.Follow(o)
	streams, err := open()
	if err == nil {
		err = l.serve(ctx, follower, streams, keys)
	}
	return errors.Join(err, follower.Close(), l.Leave())
}

var ErrDetached = errors.New("detached")

// serve copies between a client and the process until the output has ended,
// the client has detached (errDetached) or gone, or ctx ends. The goroutine that reads from
// the client ends when the caller closes the client's connection.
func (l *IO) serve(ctx context.Context, f *logs.Follower, s ClientStreams, keys []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.Stdin != nil && l.Stdin {
		l.group.Go(func() { l.feed(s.Stdin, keys, cancel) })
	}
	err := f.Copy(ctx, s.Stdout, s.Stderr)
	if errors.Is(context.Cause(ctx), ErrDetached) {
		return ErrDetached
	}
	return err
}

// feed moves the client's input to the process. The end of the input closes the
// process's stdin where it is for one client only; a detach ends the
// attachment.
func (l *IO) feed(from io.Reader, keys []byte, cancel context.CancelCauseFunc) {
	in, err := l.input()
	if err != nil {
		return
	}
	if l.Terminal {
		from = &detachReader{r: from, keys: keys}
	}
	_, err = io.Copy(onlyWriter{in}, from)
	if errors.Is(err, ErrDetached) {
		cancel(ErrDetached)
		return
	}
	if l.ClosesStdin() {
		l.closeStdin()
	}
}

// onlyWriter hides every method but Write.
type onlyWriter struct{ io.Writer }

// ClientStreams are a client's ends of an attached process. A nil stream is not
// attached. Without a terminal, Stdout and Stderr are already separated by the
// caller. To outputs that are Sockets bytes may be spliced past Write.
type ClientStreams struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// Fail shows a client why there is no process, where Docker's clients expect it.
func (s ClientStreams) Fail(failed error) error {
	if s.Stdout == nil {
		return nil
	}
	_, err := fmt.Fprintf(s.Stdout, "%s\r\n", failed)
	return err
}
