package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
	"github.com/engine-lite/engine-lite/internal/flock"
	"github.com/engine-lite/engine-lite/internal/retry"
)

// SupervisorOptions are the options of Supervise. All paths must be absolute.
type SupervisorOptions struct {
	// Binary is the path of containerd's program. containerd looks for shims in the
	// same directory, then in PATH.
	Binary string
	// Root is containerd's root directory, for data that must survive a reboot.
	Root string
	// Dir is a directory that only this supervisor uses: for its lock, and for
	// containerd's configuration, sockets, log and state. It should be one that a
	// reboot empties, such as a directory below /run. The path must be short enough
	// for a unix socket below it.
	Dir string
	// LogLevel is containerd's log level, such as "debug". Empty is "info".
	LogLevel string
	// Log receives the supervisor's messages and those of containerd. nil is
	// slog.Default.
	Log *slog.Logger
	// Grace is how long Close waits between SIGTERM and SIGKILL. 0 is 10 s.
	Grace time.Duration
}

const defaultGrace = 10 * time.Second

func (o *SupervisorOptions) check() error {
	for _, path := range []string{o.Binary, o.Root, o.Dir} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("containerd's path %q is not absolute: %w", path, errdefs.ErrInvalidArgument)
		}
	}
	if longest := o.address() + ttrpcSuffix; len(longest) > longestSocket {
		return fmt.Errorf("containerd's socket %q is longer than %d bytes: %w", longest, longestSocket,
			errdefs.ErrInvalidArgument)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	return nil
}

// longestSocket is the longest path of a unix socket in bytes, without the final zero,
// see unix(7).
const longestSocket = 107

// ttrpcSuffix is the suffix of containerd's second socket, which its shims use.
const ttrpcSuffix = ".ttrpc"

func (o *SupervisorOptions) address() string { return filepath.Join(o.Dir, "containerd.sock") }
func (o *SupervisorOptions) config() string  { return filepath.Join(o.Dir, "config.toml") }

// Supervisor keeps a containerd running. When containerd ends, the supervisor starts it
// again, after a delay that grows from 100 ms to 5 s. The supervisor copies containerd's
// messages to its own log.
//
// If the supervisor's process dies, containerd runs on, and the next supervisor of the
// same Dir adopts it. A restart of containerd would lose exits, since containerd 2.4
// deletes all stopped tasks when it starts. containerd's log is a FIFO, so that it can
// write on with the next supervisor: while no process reads the FIFO, its writes fail,
// which containerd ignores.
//
// The caller must call Close or Leave, which wait for the supervisor's goroutines.
type Supervisor struct {
	options SupervisorOptions
	lock    *os.File
	log     *logReader

	stop    context.CancelFunc
	stopped chan struct{} // closed when run has ended: containerd isn't started any more

	mu      sync.Mutex
	current *daemonProcess // nil where it could not be started
}

// Supervise starts a containerd, or adopts the one that an earlier supervisor of Dir
// left, and returns when containerd serves. ctx bounds Supervise, and nothing after it.
//
// Errors: InvalidArgument for invalid options; AlreadyExists if Dir has a supervisor;
// else Unavailable, with containerd's last warning or error in the text, if there is one. After an
// error no containerd runs.
func Supervise(ctx context.Context, o SupervisorOptions) (*Supervisor, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("containerd's directory: %w", err)
	}
	lock, err := flock.Open(filepath.Join(o.Dir, "supervisor.lock"), 0)
	if errors.Is(err, flock.ErrTaken) {
		err = fmt.Errorf("another supervisor has it: %w", errdefs.ErrAlreadyExists)
	}
	if err != nil {
		return nil, fmt.Errorf("containerd's directory %q: %w", o.Dir, err)
	}
	s := &Supervisor{options: o, lock: lock, stopped: make(chan struct{})}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *Supervisor) begin(ctx context.Context) error {
	if err := atomicfile.Write(s.options.config(), s.options.containerdConfig(), 0o600); err != nil {
		return fmt.Errorf("containerd's configuration: %w", err)
	}
	var err error
	if s.log, err = openLog(filepath.Join(s.options.Dir, "log"), s.options.Log); err != nil {
		return fmt.Errorf("containerd's log: %w", err)
	}
	if err := s.first(ctx); err != nil {
		err = errors.Join(err, s.log.close())
		if message := s.log.lastError(); message != "" {
			err = fmt.Errorf("%w; containerd's last message: %s", err, message)
		}
		return err
	}
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.run(running)
	return nil
}

// first adopts the containerd that an earlier supervisor left, or starts one, and waits
// until it serves. A containerd that ends meanwhile is replaced.
func (s *Supervisor) first(ctx context.Context) error {
	p, err := adoptDaemon(s.options.arguments())
	if err != nil {
		return fmt.Errorf("cannot look for containerd: %w: %w", errdefs.ErrUnavailable, err)
	}
	if p != nil {
		s.options.Log.Info("the containerd of an earlier supervisor runs; adopting it", "pid", p.pid)
		if err := s.ready(ctx, p); err == nil || ctx.Err() != nil {
			return err
		}
	}
	if p, err = s.start(); err != nil {
		return fmt.Errorf("cannot start containerd: %w: %w", errdefs.ErrUnavailable, err)
	}
	return s.ready(ctx, p)
}

// ready waits until a containerd serves, and makes it the current one. If it doesn't
// serve, ready ends it.
func (s *Supervisor) ready(ctx context.Context, p *daemonProcess) error {
	if err := serves(ctx, s.options.address(), p.ended); err != nil {
		p.end(s.options.Grace)
		return fmt.Errorf("containerd, process %d, does not serve: %w: %w; the process ended with %s",
			p.pid, errdefs.ErrUnavailable, err, p.how)
	}
	s.current = p
	return nil
}

// run waits for the end of containerd and starts it again, until ctx ends.
func (s *Supervisor) run(ctx context.Context) {
	defer close(s.stopped)
	delay := retry.New(restartFirst, restartLongest)
	for began := time.Now(); ; began = time.Now() {
		p := s.process()
		if p != nil {
			select {
			case <-p.ended:
			case <-ctx.Done():
				return
			}
			s.options.Log.Warn("containerd ended; starting it again, containers run on", "pid", p.pid, "end", p.how)
		}
		delay.ResetAfter(time.Since(began), healthyAfter)
		if delay.Wait(ctx) != nil {
			return
		}
		s.again()
	}
}

// again starts a containerd, and makes it the current one.
func (s *Supervisor) again() {
	p, err := s.start()
	if err != nil {
		s.options.Log.Error("cannot start containerd; trying again", "error", err)
	}
	s.mu.Lock()
	ended := s.current
	s.current = p
	s.mu.Unlock()
	if ended != nil {
		ended.leave()
	}
}

// The delays before a start: twice as long each time, unless the process before lived long enough to count as healthy.
const (
	restartFirst   = 100 * time.Millisecond
	restartLongest = 5 * time.Second
	healthyAfter   = 10 * time.Second
)

func (s *Supervisor) process() *daemonProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Address returns the path of containerd's socket.
func (s *Supervisor) Address() string { return s.options.address() }

// Pid returns the pid of containerd, or of the last one while none runs. It is 0 if the
// last start failed.
func (s *Supervisor) Pid() int {
	if p := s.process(); p != nil {
		return p.pid
	}
	return 0
}

// Leave ends the supervisor, and lets containerd run on for the next supervisor.
func (s *Supervisor) Leave() error {
	s.halt()
	if p := s.process(); p != nil {
		p.leave()
	}
	return s.release()
}

// Close ends the supervisor and containerd: with SIGTERM, and after
// SupervisorOptions.Grace with SIGKILL. Containers run on. containerd 2.4 loses the exits
// of containers that end before it is started again, see Supervisor.
func (s *Supervisor) Close() error {
	s.halt()
	if p := s.process(); p != nil {
		p.end(s.options.Grace)
	}
	return errors.Join(s.clear(), s.release())
}

// clear removes the sockets and the log of a containerd that has ended.
func (s *Supervisor) clear() error {
	var errs []error
	for _, path := range []string{s.log.path, s.Address(), s.Address() + ttrpcSuffix} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// halt ends run, so that containerd isn't started any more.
func (s *Supervisor) halt() {
	s.stop()
	<-s.stopped
}

func (s *Supervisor) release() error { return errors.Join(s.log.close(), s.lock.Close()) }
