package ociruntime

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What an OCI runtime refuses for a moment is asked again, within a bound. A runtime's words don't tell a refusal that passes from one that stays, so that facts
// decide, which are looked at after each failure. Nothing is asked again whose second time does something else than the first.
//
//	pause    yes, while the init process lives and nobody else has frozen the control group. What runc and crun do is also done here, with more patience: they know a
//	         paused container by its freezer alone. After a failure the group is thawed, so that no half of it stays frozen
//	update   a memory limit that more than its bytes was used of, and isn't any more: the same values are written again. Other refusals stay
//	delete   yes, while the runtime has state of the container: what was deleted is skipped the second time
//	kill     SIGKILL to all processes, while there are any. Another signal may have reached some of them, which would get it twice
//	create,  only where the runtime's program could not be run at all. After that nobody knows whether the user's command has begun, and it must not run
//	exec     twice. That a frozen group would hold the command is found out before the call
//
// A runtime whose program isn't there is asked once.
const (
	retryBound   = 3 * time.Second // for all tries after the first one to begin
	firstPause   = 10 * time.Millisecond
	longestPause = 200 * time.Millisecond
)

// retry calls fn until it succeeds, or passing says of its error that the reason stays, or no more try could begin within retryBound, or ctx ends, or the request that
// [Daemon.change] works for. The error is fn's last one.
func retry(ctx context.Context, passing func(error) bool, fn func() error) error {
	over := time.Now().Add(retryBound)
	request := requestOf(ctx)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := fn()
		if err == nil || ctx.Err() != nil || !passing(err) || time.Now().Add(pause).After(over) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-request.Done():
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// requestKey is the key of the context of the request that an operation is done for.
type requestKey struct{}

// WithRequest makes a context of an operation that knows its request's.
func WithRequest(op, request context.Context) context.Context {
	return context.WithValue(op, requestKey{}, request)
}

// requestOf is the context of the request that an operation is done for; the operation's own without one.
func requestOf(op context.Context) context.Context {
	if request, ok := op.Value(requestKey{}).(context.Context); ok {
		return request
	}
	return op
}

// neverBegan tells whether an error says that the kernel could not run a program just then, so that nothing was done: out of processes, memory or descriptors, or the
// file is just being written.
func neverBegan(err error) bool {
	return slices.ContainsFunc([]error{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ETXTBSY}, func(errno error) bool { return errors.Is(err, errno) })
}

// isThere tells whether the runtime's program can be run at all.
func (r Runtime) isThere() bool {
	_, err := exec.LookPath(r.Path)
	return err == nil
}
