package libcontainerd

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/containerd/errdefs"
)

// Option is an option of New.
type Option func(*options)

type options struct {
	log            *slog.Logger
	reconcileEvery time.Duration
	backoffMin     time.Duration
	backoffMax     time.Duration
	callTimeout    time.Duration
	shutdown       time.Duration
	hintGrace      time.Duration
	execGrace      time.Duration
	noClean        bool
	ramdisk        bool
}

func defaultOptions() options {
	return options{
		log:            slog.Default(),
		reconcileEvery: 30 * time.Second,
		backoffMin:     100 * time.Millisecond,
		backoffMax:     10 * time.Second,
		callTimeout:    30 * time.Second,
		shutdown:       10 * time.Second,
		hintGrace:      time.Second,
		execGrace:      2 * time.Second,
		noClean:        os.Getenv("LIBCONTAINERD_NOCLEAN") == "1",
		ramdisk:        os.Getenv("DOCKER_RAMDISK") != "",
	}
}

// check refuses options that no client can work with.
func (o *options) check() error {
	if o.log == nil {
		return fmt.Errorf("a client needs a logger: %w", errdefs.ErrInvalidArgument)
	}
	for _, d := range []time.Duration{o.reconcileEvery, o.backoffMin, o.backoffMax, o.callTimeout, o.shutdown,
		o.hintGrace, o.execGrace} {
		if d <= 0 {
			return fmt.Errorf("%v is not a positive duration: %w", d, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// WithLogger sets the log for errors that the client can't return to a caller. The default is slog.Default.
func WithLogger(log *slog.Logger) Option {
	return func(o *options) { o.log = log }
}

// WithReconcileEvery sets how often a connected client lists the daemon's tasks and compares them with its records.
// The default is 30 s; d must be positive.
func WithReconcileEvery(d time.Duration) Option {
	return func(o *options) { o.reconcileEvery = d }
}

// WithBackoff sets the first and the longest delay between two tries of a callback or of a call that the client
// repeats: Subscribe, Wait, CloseIO, Delete. Each delay is twice the one before. The defaults are 100 ms and 10 s;
// both must be positive.
func WithBackoff(first, longest time.Duration) Option {
	return func(o *options) { o.backoffMin, o.backoffMax = first, longest }
}

// WithCallTimeout bounds each call to the daemon that the client makes without a context of a caller: to compare
// records, to clean up after a failure, to delete processes that have exited. The default is 30 s; d must be
// positive.
func WithCallTimeout(d time.Duration) Option {
	return func(o *options) { o.callTimeout = d }
}

// WithShutdownTimeout bounds how long Run waits for callbacks after its context has ended. The default is 10 s; d
// must be positive.
func WithShutdownTimeout(d time.Duration) Option {
	return func(o *options) { o.shutdown = d }
}

// WithHintGrace sets how long the client waits, after the daemon's event of an exit, for the answer to its Wait for
// that process. After that the client asks the daemon for the state of the process. The default is 1 s; d must be
// positive.
func WithHintGrace(d time.Duration) Option {
	return func(o *options) { o.hintGrace = d }
}

// WithExecGrace sets how long the client waits, after the exit of a container's init process, for the exits of its
// execs, which are delivered first. After that the client asks the daemon for the state of each exec whose exit is
// missing. An exit that the daemon doesn't know either is Unknown. The default is 2 s; d must be positive.
func WithExecGrace(d time.Duration) Option {
	return func(o *options) { o.execGrace = d }
}

// WithNoClean keeps the files of ended processes, for debugging. The environment variable LIBCONTAINERD_NOCLEAN=1
// does the same. These files are kept:
//
//   - the FIFOs, in the directory of each process below the root of FIFO, until a
//     process with the same ids replaces them;
//   - with runtimed, the bundle and the process directories; the documentation of
//     package runtimed says where. containerd removes its bundles all the same.
//
// Tasks, mounts, control groups and records are removed as always.
func WithNoClean() Option {
	return func(o *options) { o.noClean = true }
}
