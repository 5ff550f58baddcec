package runtimed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/keeper"
)

// Options tell a daemon where it lives. All but Runtime, Log and Version are required.
type Options struct {
	// Root is the state directory, made 0700 if it is missing. An absolute path.
	Root string
	// Address is the path of the unix socket to serve, which gets mode 0600.
	Address string
	// Keeper is the path of the keeper's socket. The keeper must be the parent, or a further ancestor, and subreaper of this process.
	Keeper string
	// Runtime is an OCI runtime's name or path; empty for crun where it runs on this host, else runc.
	Runtime string
	// Version is what the version service tells.
	Version string
	// Trace begins a span of a request, below the one that its metadata names, and returns what ends it; nil where nobody records.
	Trace func(ctx context.Context, name string, header http.Header) (context.Context, func())
	// Log takes messages; nil for logrus's standard logger.
	Log *logrus.Entry
}

// runtimeTimeout bounds one call of the OCI runtime, whoever still waits for it.
const runtimeTimeout = 2 * time.Minute

// Daemon serves one root. Make it with [New], let it work with [Daemon.Run].
type Daemon struct {
	opts    Options
	log     *logrus.Entry
	lock    *os.File
	runtime string
	host    host
	keeper  keeperLink
	events  *broker
	exits   *exitTable
	// migrations are those of processes between control groups.
	migrations migrations
	work       sync.WaitGroup // operations that may outlive their request
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

// New locks the root, chooses the OCI runtime, connects to the keeper and takes over the containers that an earlier daemon left. The caller runs or
// closes the daemon.
//
// Errors: FailedPrecondition if another daemon has the root, a newer one wrote it, or no OCI runtime works, Unavailable without a keeper,
// InvalidArgument for bad options.
func New(ctx context.Context, opts Options) (_ *Daemon, err error) {
	if !filepath.IsAbs(opts.Root) || !filepath.IsAbs(opts.Address) || !filepath.IsAbs(opts.Keeper) {
		return nil, fmt.Errorf("root %q, address %q and keeper %q must be absolute paths: %w", opts.Root, opts.Address, opts.Keeper, errdefs.ErrInvalidArgument)
	}
	log := opts.Log
	if log == nil {
		log = logrus.NewEntry(logrus.StandardLogger())
	}
	d := &Daemon{opts: opts, log: log, events: newBroker(), exits: newExitTable(), namespaces: make(map[string]*namespace)}
	d.keeper = keeperLink{path: opts.Keeper, log: log}
	if d.lock, err = lockRoot(opts.Root); err != nil {
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
	if d.runtime, note, err = chooseRuntime(ctx, opts.Runtime, d.tmp()); err != nil {
		return nil, err
	}
	log.WithFields(logrus.Fields{"runtime": d.runtime, "why": note}).Info("OCI runtime")
	if d.host, err = thisHost(d.tmp()); err != nil {
		return nil, err
	}
	if err := d.keeper.dial(ctx); err != nil {
		return nil, err
	}
	if err := d.load(ctx); err != nil {
		return nil, err
	}
	return d, writeJSON(d.rootFile(), root) // only now nothing of an earlier boot counts as living
}

// Close gives up the root. Containers run on. It may only be called once Run has returned or if it was never called.
func (d *Daemon) Close() error {
	d.keeper.drop()
	for _, c := range d.all() {
		if t := c.get(); t != nil {
			for _, p := range t.processes() {
				if term := p.terminal(); term != nil {
					term.close()
				}
			}
		}
	}
	return d.lock.Close()
}

func (d *Daemon) tmp() string { return filepath.Join(d.opts.Root, ".tmp") }

// lockRoot makes the root and its directory for temporary files, and locks it for as long as the returned file is open.
func lockRoot(root string) (_ *os.File, err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(root, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := keeper.Lock(f); err != nil {
		return nil, fmt.Errorf("another runtimed serves %s (%v): %w", root, err, errdefs.ErrFailedPrecondition)
	}
	tmp := filepath.Join(root, ".tmp")
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
	if err := validID("container", id); err != nil {
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

// findProcess returns a process of a task; the init process with an empty exec id.
func (d *Daemon) findProcess(ns, id, exec string) (*process, error) {
	t, err := d.findTask(ns, id)
	if err != nil {
		return nil, err
	}
	if exec != "" {
		if err := validID("process", exec); err != nil {
			return nil, err
		}
	}
	return t.process(exec)
}

// change runs fn as the only operation on a container, to its end even if the request ends first: half a start is nobody's friend. The
// context that fn gets ends with runtimeTimeout, or giveUpGrace after the request. Errors: fn's, or ctx's if that came first.
func (d *Daemon) change(ctx context.Context, c *container, fn func(context.Context) error) error {
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
		done <- fn(withRequest(op, ctx))
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
	if err := d.events.publish(ns, topic, event); err != nil {
		d.log.WithError(err).Error("an event could not be published")
	}
}

// onExit handles one exit from the keeper. It never returns an error: what one process's exit meets must not stop the others'.
func (d *Daemon) onExit(e keeper.Exit) error {
	p, keep := d.exits.take(e)
	switch {
	case p != nil:
		d.exited(p, e)
	case !keep:
		d.forgetExit(e)
	}
	return nil
}

// forgetExit drops an exit from the keeper's ledger.
func (d *Daemon) forgetExit(e keeper.Exit) {
	err := d.keeper.do(func(ctx context.Context, k *keeper.Client) error { return k.Forget(ctx, e.Pid, e.StartTime) })
	if err != nil {
		d.log.WithError(err).WithField("pid", e.Pid).Warn("the keeper didn't forget an exit")
	}
}
