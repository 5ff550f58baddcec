package ociruntime

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/retry"
)

// An operation that an OCI runtime refuses for a moment is repeated, within a bound. The runtime's message does not say
// whether the reason will pass. So facts decide, which are checked after each failure. An operation is repeated only if
// doing it twice is the same as doing it once.
//
//	pause         repeated while the init process lives, unless somebody else had frozen the control group. For runc
//	              and crun the daemon also freezes the group itself, with more patience: both know a paused container
//	              by its freezer alone. After each failure the group is thawed, so that no half of it stays frozen.
//	update        repeated only for a memory limit below which the usage has fallen meanwhile: the same values are
//	              written again. Any other refusal is taken as permanent.
//	delete        repeated while the runtime has state of the container: parts that are deleted are skipped.
//	kill          repeated only for SIGKILL to all processes, while there are any. Some processes may have received
//	              another signal already, and would receive it twice.
//	create, exec  repeated only if the runtime's program could not be run at all. Later nobody knows whether the
//	              user's command has begun, and it must not run twice. Whether the control group is frozen, which
//	              would block an exec, is checked before the call.
//
// Nothing is repeated if the runtime's program does not exist.
const (
	retryBound   = 3 * time.Second // for all tries after the first one to begin
	firstPause   = 10 * time.Millisecond
	longestPause = 200 * time.Millisecond
)

// repeat calls fn until one of these is true: fn succeeds; passing says of its error that the reason will not pass;
// retryBound is over; ctx ends; the request ends that the operation is done for (see WithRequest). It returns the
// last error of fn.
func repeat(ctx context.Context, passing func(error) bool, fn func() error) error {
	over := time.Now().Add(retryBound)
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(requestOf(ctx), cancel)()
	for delay := retry.New(firstPause, longestPause); ; {
		err, pause := fn(), delay.Next()
		if err == nil || ctx.Err() != nil || !passing(err) || time.Now().Add(pause).After(over) {
			return err
		}
		if retry.Sleep(waiting, pause) != nil {
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

// neverBegan reports whether an error says that the kernel could not run the program just then, so that nothing was
// done: no process, memory or descriptor was free, or the program's file was being written.
func neverBegan(err error) bool {
	return slices.ContainsFunc([]error{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ETXTBSY},
		func(errno error) bool { return errors.Is(err, errno) })
}

// isThere tells whether the runtime's program can be run at all.
func (r Runtime) isThere() bool {
	_, err := exec.LookPath(r.Path)
	return err == nil
}
