// Package engine is what a user asks of a container engine: containers, execs,
// images, logs and events. It keeps the truth in the journal, has processes run
// by the client layer (libcontainerd), and is that layer's backend.
//
// A container's life, and what stands in the journal about it:
//
//	create  record (removing) -> root filesystem -> record (created)  + event create
//	start   ... runtime daemon ...               -> record (running)  + event start
//	exit    record (exited) + event die, held back -> output drained to the log
//	        -> waiters and subscribers learn of it -> task deleted
//	remove  record (removing) -> files gone      -> record and name gone + event destroy
//
// A record in removing state that is found at boot is swept: whatever step died,
// the rest is done then.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Namespace is where the engine's containers are at the runtime daemon.
const Namespace = "engine-lite"

// Options say where the engine keeps what.
type Options struct {
	// Root holds what outlives a reboot: journal, images, logs.
	Root string
	// Version is the program's version.
	Version string
	// Runtime is the name of the OCI runtime in use.
	Runtime string
}

// Engine is the one engine of a root directory. Its methods may be called from
// any goroutine between Run's readiness and Close.
type Engine struct {
	opts    Options
	journal *journal.Journal
	images  *images.Store
	daemon  libcontainerd.Daemon
	client  *libcontainerd.Client
	stdio   *stdio
	roster  *roster
	execs   execTable
	gate    *gate

	// ctx is the engine's life, closing its end.
	ctx     context.Context
	cancel  context.CancelFunc
	closing <-chan struct{}
	// background joins what goes on without a caller, clients what serves one.
	background, clients sync.WaitGroup
	runErr              chan error
}

// Open opens the engine of a root directory and takes up the containers that
// its journal tells of. The caller closes the daemon after the engine. stdio is
// how streams are kept alive while the engine is away: nil for not at all.
func Open(ctx context.Context, opts Options, d libcontainerd.Daemon, inner libcontainerd.Stdio, hold Keeper) (*Engine, error) {
	if err := os.MkdirAll(filepath.Join(opts.Root, "containers"), 0o710); err != nil {
		return nil, fmt.Errorf("engine root: %w", err)
	}
	e := &Engine{
		opts: opts, daemon: d, roster: newRoster(), gate: newGate(),
		execs: execTable{byID: map[string]*execution{}}, runErr: make(chan error, 1),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.closing = e.ctx.Done()
	e.stdio = &stdio{inner: inner, keeper: hold, lifeOf: e.processLife}
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context) error {
	var err error
	if e.journal, err = journal.Open(filepath.Join(e.opts.Root, "journal.db"), journal.Options{}); err != nil {
		return err
	}
	if e.images, err = images.Open(ctx, filepath.Join(e.opts.Root, "images"), images.Options{}); err != nil {
		return err
	}
	if e.client, err = libcontainerd.New(e.daemon, e.stdio, e); err != nil {
		return err
	}
	if err := e.restore(ctx); err != nil {
		return err
	}
	e.background.Go(func() { e.runErr <- e.client.Run(e.ctx) })
	select {
	case <-e.client.Ready():
	case <-ctx.Done():
		return fmt.Errorf("the runtime daemon does not answer: %w", ctx.Err())
	}
	return e.sweep(ctx)
}

// restore puts the journal's containers into memory; those that ran are taken
// up at the client layer, which finds out what happened meanwhile.
func (e *Engine) restore(ctx context.Context) error {
	var records []*record
	err := e.journal.View(func(s *journal.Snapshot) error {
		return s.ForEach(kindContainer, func(_ string, raw []byte) error {
			r, err := decodeRecord(raw)
			if err == nil {
				records = append(records, r)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, r := range records {
		o := newObject(r)
		e.roster.add(o, r.Name)
		if r.running() {
			if err := e.restoreRun(ctx, o, r); err != nil {
				return fmt.Errorf("restore container %s: %w", r.ID, err)
			}
		}
	}
	return nil
}

func (e *Engine) restoreRun(ctx context.Context, o *object, r *record) error {
	l, err := e.lifeOf(o)
	if err != nil {
		return err
	}
	o.change(func() { o.generation = r.Generation })
	ctr, err := e.client.Restore(ctx, r.ID, libcontainerd.RestoreOptions{
		Generation: r.Generation, Pid: r.Pid, Paused: r.Status == statusPaused,
		Stdio: libcontainerd.StdioConfig{Terminal: l.terminal, Stdin: l.stdin, StdinClosed: r.StdinClosed},
	})
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rec.running() {
		o.ctr = ctr
	}
	return nil
}

// sweep finishes the removals and undoes the creations that an earlier engine
// died in.
func (e *Engine) sweep(ctx context.Context) error {
	for _, o := range e.roster.all() {
		if o.record().Status != statusRemoving {
			continue
		}
		action := "destroy"
		if o.record().Version == 0 {
			action = "" // its creation was never told
		}
		if err := e.finishRemoval(ctx, o, action); err != nil {
			log.WithError(err).WithField("container", o.id).Error("cannot finish the removal of the container")
		}
	}
	return nil
}

// Close ends the engine and leaves its containers running. The callers of its
// methods have to be gone, or their connections closed.
func (e *Engine) Close() error {
	e.cancel()
	e.background.Wait()
	var errs []error
	select {
	case err := <-e.runErr:
		if !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	default:
	}
	for _, o := range e.roster.all() {
		o.mu.Lock()
		l := o.life
		o.mu.Unlock()
		if l != nil {
			errs = append(errs, l.suspend())
		}
	}
	e.clients.Wait()
	if e.images != nil {
		errs = append(errs, e.images.Close())
	}
	if e.journal != nil {
		errs = append(errs, e.journal.Close())
	}
	return errors.Join(errs...)
}
