package libcontainerd

import (
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
)

// Option changes how a Client works.
type Option func(*options)

type options struct {
	log            *logrus.Entry
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
		log:            logrus.NewEntry(logrus.StandardLogger()),
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

// check refuses what no client could work with.
func (o *options) check() error {
	if o.log == nil {
		return fmt.Errorf("a client needs a logger: %w", errdefs.ErrInvalidArgument)
	}
	for _, d := range []time.Duration{o.reconcileEvery, o.backoffMin, o.backoffMax, o.callTimeout, o.shutdown, o.hintGrace, o.execGrace} {
		if d <= 0 {
			return fmt.Errorf("%v is not a positive duration: %w", d, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// WithLogger sets where the client logs what no caller is told; the default is
// logrus' standard logger.
func WithLogger(log *logrus.Entry) Option {
	return func(o *options) { o.log = log }
}

// WithReconcileEvery sets how often a connected client lists the daemon's
// tasks and compares; the default is 30 s. It must be positive.
func WithReconcileEvery(d time.Duration) Option {
	return func(o *options) { o.reconcileEvery = d }
}

// WithBackoff sets the first and the longest delay between two tries of what
// is retried: callbacks, subscribing, waiting and deleting. Each delay is twice
// the one before. The defaults are 100 ms and 10 s.
func WithBackoff(first, longest time.Duration) Option {
	return func(o *options) { o.backoffMin, o.backoffMax = first, longest }
}

// WithCallTimeout bounds each call to the daemon that the client makes on its
// own account: reconciling, cleaning up after a failure, deleting ended
// processes. The default is 30 s.
func WithCallTimeout(d time.Duration) Option {
	return func(o *options) { o.callTimeout = d }
}

// WithShutdownTimeout bounds how long Run waits, once its context has ended,
// for callbacks that were accepted before. The default is 10 s.
func WithShutdownTimeout(d time.Duration) Option {
	return func(o *options) { o.shutdown = d }
}

// WithHintGrace sets how long an event that tells of a process's end waits for
// the process's own Wait before the daemon is asked. The default is 1 s.
func WithHintGrace(d time.Duration) Option {
	return func(o *options) { o.hintGrace = d }
}

// WithExecGrace sets how long the exit of a container waits for the exits of
// its execs, which come first. Of those that are still missing then the daemon
// is asked; what it doesn't answer is Unknown. The default is 2 s.
func WithExecGrace(d time.Duration) Option {
	return func(o *options) { o.execGrace = d }
}

// WithNoClean keeps what a process leaves behind, for debugging; so does the
// environment LIBCONTAINERD_NOCLEAN=1. What is kept where:
//
//   - the FIFOs, in the directory of each process under FIFO's root, until the
//     next process of the same name replaces them;
//   - with runtimed, the bundle and the processes' directories: its
//     documentation says where it puts them. containerd removes its bundles.
//
// Nothing that runs is kept: tasks, mounts, control groups and records go.
func WithNoClean() Option {
	return func(o *options) { o.noClean = true }
}
