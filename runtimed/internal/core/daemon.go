package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/internal/flock"
	"github.com/engine-lite/engine-lite/internal/parentgroup"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/broker"
	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
	"github.com/engine-lite/engine-lite/runtimed/internal/host"
	"github.com/engine-lite/engine-lite/runtimed/internal/keeperlink"
	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// Options are the options of New. Root and Keeper are required.
type Options struct {
	// Root is the absolute path of the state directory. New makes it with mode 0700 if it doesn't exist.
	Root string
	// Keeper is the absolute path of the keeper's socket. The keeper must be an ancestor of this process, and its child
	// subreaper.
	Keeper string
	// Runtime is the name or the path of an OCI runtime. Empty means crun if it runs on this host, else runc.
	Runtime string
	// ParentGroup is the control group below which all containers are made: its name, which has no slash, below the root
	// of each hierarchy. The daemon removes the group a second after the last container. If ParentGroup is empty, the
	// daemon removes no such group.
	ParentGroup string
	// Log receives the daemon's messages. nil is logrus' standard logger.
	Log *logrus.Entry
}

// runtimeTimeout bounds one call of the OCI runtime, whoever still waits for it.
const runtimeTimeout = 2 * time.Minute

// Daemon has the containers of one root. New makes a Daemon, and HandleExits runs it.
type Daemon struct {
	opts    Options
	log     *logrus.Entry
	lock    *os.File
	runtime string
	host    host.Host
	keeper  keeperlink.Link
	events  *broker.Broker
	exits   *exitTable
	parent  *parentgroup.Keeper
	// migrating tells that this process is just migrating, see prepareMigration.
	migrating atomic.Bool
	work      sync.WaitGroup // operations that may outlive their request
	// rebooted tells that what is below the root is of an earlier boot of the host.
	rebooted bool

	mu         sync.Mutex
	namespaces map[string]*namespace
}

// namespace is a set of containers. Its map is guarded by Daemon.mu.
type namespace struct {
	labels     map[string]string // replaced as a whole, never changed
	containers map[string]*container
}

// New locks the root, chooses the OCI runtime, connects to the keeper and takes over the containers that an earlier
// daemon left. The caller runs or closes the daemon.
//
// Errors: FailedPrecondition if another daemon has the root, a newer one wrote it, or no OCI runtime works,
// Unavailable without a keeper, InvalidArgument for bad options.
func New(ctx context.Context, opts Options) (_ *Daemon, err error) {
	log := opts.Log
	if log == nil {
		log = logrus.NewEntry(logrus.StandardLogger())
	}
	d := &Daemon{opts: opts, log: log, events: broker.New(), exits: newExitTable(),
		namespaces: make(map[string]*namespace)}
	d.keeper = keeperlink.Link{Path: opts.Keeper, Log: log}
	if d.lock, err = lockRoot(ctx, opts.Root, log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	root, err := d.examineRoot()
	if err != nil {
		return nil, err
	}
	var note string
	if d.runtime, note, err = ociruntime.Choose(ctx, opts.Runtime, d.tmp()); err != nil {
		return nil, err
	}
	log.WithFields(logrus.Fields{"runtime": d.runtime, "why": note}).Info("chose the default OCI runtime")
	if d.host, err = host.Detect(d.tmp()); err != nil {
		return nil, err
	}
	if d.parent, err = parentgroup.New(opts.ParentGroup); err != nil {
		return nil, err
	}
	if err := d.keeper.Dial(ctx); err != nil {
		return nil, err
	}
	if err := d.load(ctx); err != nil {
		return nil, err
	}
	return d, statefile.WriteJSON(d.rootFile(), root) // only now nothing of an earlier boot counts as living
}

// Close gives up the root. Containers run on. It may only be called once Run has returned or if it was never called.
func (d *Daemon) Close() error {
	d.keeper.Drop()
	for _, c := range d.all() {
		if t := c.get(); t != nil {
			for _, p := range t.processes() {
				if term := p.terminal(); term != nil {
					term.Close()
				}
			}
		}
	}
	return errors.Join(d.parent.Close(), d.lock.Close())
}

// DefaultRuntime is the absolute path of the OCI runtime of containers that name none.
func (d *Daemon) DefaultRuntime() string { return d.runtime }

func (d *Daemon) tmp() string { return filepath.Join(d.opts.Root, ".tmp") }

// lockRoot makes the root and its directory for temporary files, and locks it for as long as the returned file is open.
func lockRoot(ctx context.Context, root string, log logrus.FieldLogger) (_ *os.File, err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	f, err := flock.Open(filepath.Join(root, "lock"), flock.Patience)
	if errors.Is(err, flock.ErrTaken) {
		return nil, fmt.Errorf("another runtimed serves %s (%v): %w", root, err, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	tmp := filepath.Join(root, ".tmp")
	if err := ociruntime.ClearProbes(ctx, tmp); err != nil { // containers must not wait for that
		log.WithError(err).Warn("cannot end what an earlier runtimed has left of its probe of an OCI runtime; going on")
	}
	if err := os.RemoveAll(tmp); err != nil {
		return nil, err
	}
	return f, os.Mkdir(tmp, 0o700)
}

// all returns every container.
func (d *Daemon) all() []*container {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*container
	for _, n := range d.namespaces {
		for _, c := range n.containers {
			list = append(list, c)
		}
	}
	return list
}

// list returns the containers of a namespace.
func (d *Daemon) list(ns string) []*container {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*container
	if n := d.namespaces[ns]; n != nil {
		for _, c := range n.containers {
			list = append(list, c)
		}
	}
	return list
}

// find returns a container. InvalidArgument for an id that none can have, NotFound without one.
func (d *Daemon) find(ns, id string) (*container, error) {
	if err := ValidID("container", id); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.namespaces[ns]; n != nil && n.containers[id] != nil {
		return n.containers[id], nil
	}
	return nil, fmt.Errorf("no container %q: %w", id, errdefs.ErrNotFound)
}

// findTask returns the task of a container.
func (d *Daemon) findTask(ns, id string) (*containerTask, error) {
	c, err := d.find(ns, id)
	if err != nil {
		return nil, err
	}
	return c.living()
}

// FindProcess returns a process of a task; the init process with an empty exec id.
func (d *Daemon) FindProcess(ns, id, exec string) (*Process, error) {
	t, err := d.findTask(ns, id)
	if err != nil {
		return nil, err
	}
	if exec != "" {
		if err := ValidID("process", exec); err != nil {
			return nil, err
		}
	}
	return t.process(exec)
}

// change runs fn as the only operation on a container. fn runs to its end even if the request ends first, since half
// a start is of no use to anybody. The context of fn ends after runtimeTimeout, or giveUpGrace after the request.
// Errors: fn's, or ctx's if that came first.
func (c *container) change(ctx context.Context, fn func(context.Context) error) error {
	d := c.d
	if err := c.acquire(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	d.work.Go(func() {
		defer c.release()
		op, cancel := context.WithTimeout(context.WithoutCancel(ctx), runtimeTimeout)
		defer cancel()
		op, stop := outlive(op, ctx, giveUpGrace)
		defer stop()
		done <- fn(ociruntime.WithRequest(op, ctx))
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("gave up waiting, container %q: %w", c.id, ctx.Err())
	}
}

// publish sends an event of a namespace to all subscribers.
func (d *Daemon) publish(ns, topic string, event any) {
	if err := d.events.Publish(ns, topic, event); err != nil {
		d.log.WithError(err).Error("cannot publish an event; its subscribers do not get it")
	}
}

// onExit handles one exit from the keeper. It never returns an error: what one process's exit meets must not stop the
// others'.
func (d *Daemon) onExit(e keeper.Exit) error {
	p, keep := d.exits.take(e)
	switch {
	case p != nil:
		p.exited(e)
	case !keep:
		d.forgetExit(e)
	}
	return nil
}

// forgetExit drops an exit from the keeper's ledger.
func (d *Daemon) forgetExit(e keeper.Exit) {
	err := d.keeper.Do(func(ctx context.Context, k *keeper.Client) error { return k.Forget(ctx, e.Pid, e.StartTime) })
	if err != nil {
		d.log.WithError(err).WithField("pid", e.Pid).Warn("cannot delete an exit from the keeper's ledger")
	}
}

// prepareMigration makes the kernel ready for a process that is about to be put into a control group, and returns at
// once. The work ends within a grace period of the kernel's, and d.work waits for it. What fails costs the time that
// it would have saved.
func (d *Daemon) prepareMigration() {
	if !d.migrating.CompareAndSwap(false, true) {
		return
	}
	d.work.Go(func() {
		defer d.migrating.Store(false)
		if err := cgroup.MigrateInPlace(); err != nil {
			d.log.WithError(err).Debug(
				"cannot prepare the kernel for a change of a control group; the next change takes longer")
		}
	})
}

// Subscribe begins a subscription to the events of all namespaces. The caller closes it.
func (d *Daemon) Subscribe() *broker.Subscription { return d.events.Subscribe() }

// PublishAny sends an event that a client has made to all subscribers.
func (d *Daemon) PublishAny(ns, topic string, event any) error {
	return d.events.Publish(ns, topic, event)
}

// Forward sends an event that has its namespace and time already to all subscribers.
func (d *Daemon) Forward(e *events.Envelope) { d.events.Forward(e) }

// HandleExits handles exits until ctx ends. It fails with class Unavailable when the keeper that started this process
// dies.
func (d *Daemon) HandleExits(ctx context.Context) error {
	return d.keeper.Follow(ctx, d.onExit, func() { d.sweep(); d.watchOrphans(ctx) })
}

// Wait waits for operations that outlive their requests.
func (d *Daemon) Wait() { d.work.Wait() }
