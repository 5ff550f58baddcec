package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
	"github.com/engine-lite/engine-lite/internal/flock"
	"github.com/engine-lite/engine-lite/internal/retry"
)

// SupervisorOptions say which containerd is run, and where. All paths are
// absolute.
type SupervisorOptions struct {
	// Binary is containerd's. Shims are looked for beside it, then in PATH.
	Binary string
	// Root is the directory that outlives a reboot.
	Root string
	// Dir is the supervisor's own: lock, configuration, socket, log and
	// containerd's state. One that a reboot empties is best.
	Dir string
	// LogLevel is containerd's: its words, empty for "info".
	LogLevel string
	// Log is where containerd's messages go; nil is logrus' standard logger.
	Log *logrus.Entry
	// Grace is how long Close waits between SIGTERM and SIGKILL; 0 is 10 s.
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
		return fmt.Errorf("containerd's socket %q is longer than %d bytes: %w", longest, longestSocket, errdefs.ErrInvalidArgument)
	}
	if o.Log == nil {
		o.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	return nil
}

// longestSocket is what sockaddr_un holds, see unix(7), without the final zero.
const longestSocket = 107

// ttrpcSuffix makes the name of containerd's second socket, which its shims use.
const ttrpcSuffix = ".ttrpc"

func (o *SupervisorOptions) address() string { return filepath.Join(o.Dir, "containerd.sock") }
func (o *SupervisorOptions) config() string  { return filepath.Join(o.Dir, "config.toml") }

// Supervisor keeps a containerd running: started again when it ends, after a
// delay that grows from 100 ms to 5 s, with its messages in the supervisor's log.
//
// The containerd outlives a supervisor that dies, and is taken up by the next one
// of the same directory. It has to: containerd 2.4 deletes, when it starts, each
// task that has ended, exit status and all. Its log is a FIFO for the same reason:
// without a reader a write fails, which containerd passes over, and a later reader
// finds it in use.
//
// End it with Close or Leave, which join its goroutines.
type Supervisor struct {
	options SupervisorOptions
	lock    *os.File
	log     *logReader

	stop    context.CancelFunc
	stopped chan struct{} // closed when nobody starts containerd any more

	mu      sync.Mutex
	current *daemonProcess // nil where it could not be started
}

// Supervise starts a containerd, or takes up the one that an earlier supervisor of
// the directory left, and returns once it serves. ctx bounds that. The error is
// InvalidArgument for options that can't be, AlreadyExists where the directory has
// a supervisor, else Unavailable, with containerd's last words where it had some.
// Nothing is left running then.
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
		if words := s.log.lastWords(); words != "" {
			err = fmt.Errorf("%w; its last words: %s", err, words)
		}
		return err
	}
	life, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.run(life)
	return nil
}

// first has a containerd that serves: one that is there, unless it was about to end.
func (s *Supervisor) first(ctx context.Context) error {
	p, err := adoptDaemon(s.options.arguments())
	if err != nil {
		return fmt.Errorf("cannot look for containerd: %w: %w", errdefs.ErrUnavailable, err)
	}
	if p != nil {
		s.options.Log.WithField("pid", p.pid).Info("containerd has outlived an earlier supervisor: it is taken up")
		if err := s.ready(ctx, p); err == nil || ctx.Err() != nil {
			return err
		}
	}
	if p, err = s.start(); err != nil {
		return fmt.Errorf("cannot start containerd: %w: %w", errdefs.ErrUnavailable, err)
	}
	return s.ready(ctx, p)
}

// ready makes a containerd the current one once it serves, or ends it.
func (s *Supervisor) ready(ctx context.Context, p *daemonProcess) error {
	if err := serves(ctx, s.options.address(), p.ended); err != nil {
		p.end(s.options.Grace)
		return fmt.Errorf("containerd, process %d, does not serve: %w: %w; it ended with %s", p.pid, errdefs.ErrUnavailable, err, p.how)
	}
	s.current = p
	return nil
}

// run waits for the end of containerd and starts it again, until life ends.
func (s *Supervisor) run(life context.Context) {
	defer close(s.stopped)
	delay := retry.New(restartFirst, restartLongest)
	for began := time.Now(); ; began = time.Now() {
		p := s.process()
		if p != nil {
			select {
			case <-p.ended:
			case <-life.Done():
				return
			}
			s.options.Log.WithField("pid", p.pid).Warnf("containerd has ended with %s and is started again; containers run on", p.how)
		}
		delay.ResetAfter(time.Since(began), healthyAfter)
		if delay.Wait(life) != nil {
			return
		}
		s.again()
	}
}

// again starts containerd in the place of one that has ended.
func (s *Supervisor) again() {
	p, err := s.start()
	if err != nil {
		s.options.Log.WithError(err).Error("cannot start containerd; trying again")
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

// Address is the path of containerd's socket.
func (s *Supervisor) Address() string { return s.options.address() }

// Pid is that of containerd, or of the last one; 0 where it could not be started.
func (s *Supervisor) Pid() int {
	if p := s.process(); p != nil {
		return p.pid
	}
	return 0
}

// Leave ends the supervisor and lets containerd run on.
func (s *Supervisor) Leave() error {
	s.halt()
	if p := s.process(); p != nil {
		p.leave()
	}
	return s.release()
}

// Close ends the supervisor and containerd: by SIGTERM, and SIGKILL where that
// takes longer than Options.Grace. Containers run on; see Supervisor for what
// becomes of those that end before there is a containerd again.
func (s *Supervisor) Close() error {
	s.halt()
	if p := s.process(); p != nil {
		p.end(s.options.Grace)
	}
	return errors.Join(s.clear(), s.release())
}

// clear removes what leads to a containerd that has ended.
func (s *Supervisor) clear() error {
	var errs []error
	for _, path := range []string{s.log.path, s.Address(), s.Address() + ttrpcSuffix} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// halt has nobody start containerd any more.
func (s *Supervisor) halt() {
	s.stop()
	<-s.stopped
}

func (s *Supervisor) release() error { return errors.Join(s.log.close(), s.lock.Close()) }
