// Package engine is what a user asks of a container, and orders the packages that do it. It keeps the truth in the
// journal (store, record), has processes run by the client layer (libcontainerd), and is the backend of that layer.
//
// The steps of a container, and what the journal has after each:
//
//	create  record (removing) -> root filesystem -> record (created)  + event create
//	start   resources taken -> runtime daemon    -> record (running)  + event start
//	exit    record (exited) + event die, held    -> output drained to the log
//	        -> what others can take is given back -> waiters and subscribers learn of the exit -> task deleted
//	remove  record (removing) -> files gone      -> record and name gone + event destroy
//
// At its start the engine finishes each record in status removing, whichever step the engine before it died in.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/background"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/checkpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/external"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/health"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/rootfs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/usage"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/eventstream"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/imagemounts"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/networks"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/system"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/volumes"
	"github.com/engine-lite/engine-lite/heldstdio"
	"github.com/engine-lite/engine-lite/internal/logrusslog"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Namespace is where the engine's containers are at the runtime daemon.
const Namespace = "engine-lite"

// Options say where the engine keeps what.
type Options struct {
	// Root holds what outlives a reboot: journal, images, logs.
	Root string
	// Run has what a reboot ends, such as the mounts of root filesystems; empty for none.
	Run string
	// Version is the program's version.
	Version string
	// Runtime is the name of the OCI runtime in use.
	Runtime string
	// Runtimes are further ones by their names.
	Runtimes map[string]OCIRuntime
	// ExternalLogs is the directory of the logs of the OCI command line; empty for none.
	ExternalLogs string
	// QuietProbes leaves the exec events of health probes out.
	QuietProbes bool
	// Shims tells that the runtime daemon starts a shim for the type of runtime
	// that a container names.
	Shims bool
	// Experimental tells clients that the experimental parts of the API are there.
	Experimental bool
	// OutputBound is how many bytes of a stream are kept for clients that lag; 0 is
	// logs.DefaultBound.
	OutputBound int64
	// EventsMaxAge and EventsMaxBytes say how long events are kept, and the exits
	// of containers that were removed; 0 is the journal's default.
	EventsMaxAge   time.Duration
	EventsMaxBytes int64
	// Resources are further providers of what containers take and give back.
	Resources []resources.Provider
	// OpenJournal and OpenImages open what is below Root; nil for journal.Open
	// and images.Open.
	OpenJournal func(path string) (store.Journal, error)
	OpenImages  func(ctx context.Context, root string) (Images, error)
}

// freePatience bounds how long an exit waits until what the run had taken is given back.
const freePatience = 5 * time.Second

// JournalName is the journal's file in the root directory.
const JournalName = "journal.db"

// Engine is the one engine of a root directory. Its methods may be called from
// any goroutine between Run's readiness and Close.
type Engine struct {
	*images.API
	*system.Service
	*networks.Networks
	*volumes.Volumes
	*eventstream.Stream
	*exec.Execs
	*rootfs.Files
	*usage.Usage
	*checkpoints.Checkpoints

	opts        Options
	store       *store.Store
	images      Images
	volumes     *volumes.Local
	imageMounts *imagemounts.Mounts
	daemon      libcontainerd.Daemon
	client      *libcontainerd.Client
	stdio       *heldstdio.Stdio
	registry    *containers.Registry
	tasks       tasks
	// resources are what containers take and give back.
	resources *resources.Set
	// copies counts the copies from and to containers, for the names of their leases.
	copies atomic.Uint64
	// processes routes the client layer's calls.
	processes process.Table
	health    *health.Watcher

	// background is what goes on without a caller, clients joins what serves one.
	background *background.Group
	clients    background.Goroutines
	// running tells that the client layer's Run was called.
	running bool
	runErr  chan error
}

// Open opens the engine of a root directory and takes up the containers that
// its journal has. The caller closes the daemon and the keeper after the
// engine. inner makes the streams of processes, hold keeps their outputs alive
// while the engine is away.
func Open(ctx context.Context, opts Options, d libcontainerd.Daemon, inner libcontainerd.Stdio, hold heldstdio.Keeper) (*Engine, error) {
	if err := os.MkdirAll(filepath.Join(opts.Root, "containers"), 0o710); err != nil {
		return nil, fmt.Errorf("engine root: %w", err)
	}
	e := &Engine{
		opts: opts, daemon: d, registry: containers.NewRegistry(), tasks: tasks{byID: map[string]*task{}},
		runErr: make(chan error, 1), background: background.New(),
	}
	e.stdio = &heldstdio.Stdio{
		Inner: inner, Keeper: hold, Engine: e.background.Context(), Namespace: Namespace, Find: e.heldProcess, Gone: streamsGone,
	}
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// heldProcess finds a process for the keeper. A probe has no IO: nobody wants to know its output after the engine's end.
func (e *Engine) heldProcess(containerID, processID string, _ bool) (heldstdio.Process, error) {
	l, err := e.processes.Held(containerID, processID)
	if err != nil || l == nil {
		return nil, err
	}
	return l, nil
}

// streamsGone is called for a running process whose streams are not there any more.
func streamsGone(containerID, processID string) {
	logrus.WithFields(logrus.Fields{"container": containerID, "process": processID}).Warn(
		"the streams of a process are gone, as after a reboot; further output of the process is lost")
}

func (e *Engine) open(ctx context.Context) error {
	if err := e.openStores(ctx); err != nil {
		return err
	}
	e.Networks = networks.New(e.Records)
	e.Volumes = volumes.New(e.volumes)
	e.API = images.NewAPI(e.images, e.store, imageUsers{e.registry})
	e.Service = system.New(system.Config{
		Root: e.opts.Root, Version: e.opts.Version, Runtime: e.opts.Runtime, Runtimes: e.runtimes(),
		Snapshotter: e.images.Snapshotter(), Experimental: e.opts.Experimental,
	}, e.store, e.daemon, e.API, e.Records)
	e.Stream = eventstream.New(e.store)
	e.resources = resources.NewSet(freePatience, slices.Concat([]resources.Provider{e.volumes, e.imageMounts}, e.opts.Resources)...)
	e.Usage = usage.New(usage.Config{
		Store: e.store, Images: e.API, Rootfs: e.images, Containers: e.Records,
		Volumes: e.Volumes, Source: e.mountSource,
		Remove: func(ctx context.Context, id string) error { return e.ContainerRemove(ctx, id, RemoveOptions{}) },
	})
	e.Execs = exec.New(exec.Config{
		Store: e.store, Daemon: e.daemon, Containers: e.registry, Processes: &e.processes, Stdio: e.stdio, Background: e.background,
		Clients: &e.clients, Dir: e.containerDir, OutputBound: e.opts.OutputBound,
	})
	e.Files = rootfs.New(rootfs.Config{
		Images: e.images, Containers: e.registry, Store: e.store, Background: e.background, Committed: e.ImageCommitted,
	})
	e.Checkpoints = checkpoints.New(checkpoints.Config{Containers: e.registry, Dir: e.containerDir, Outlive: e.background.Outlive})
	e.health = health.New(health.Config{
		Daemon: e.daemon, Processes: &e.processes, Stdio: e.stdio, Background: e.background, Quiet: e.opts.QuietProbes,
	})
	var err error
	logger := logrusslog.New(logrus.NewEntry(logrus.StandardLogger()))
	if e.client, err = libcontainerd.New(e.daemon, e.stdio, e, libcontainerd.WithLogger(logger)); err != nil {
		return err
	}
	idle, err := e.restore(ctx)
	if err != nil {
		return err
	}
	if err := e.resources.Sweep(ctx, e.holds); err != nil {
		logrus.WithError(err).Error("cannot give back all that the runs of an earlier engine had taken; the next engine tries again")
	}
	e.background.Go(func() {
		if err := e.volumes.Clean(); err != nil && !e.background.Ended() {
			logrus.WithError(err).Error("cannot delete all that removed volumes have left; the next engine tries again")
		}
	})
	e.running = true
	e.background.Go(func() { e.runErr <- e.client.Run(e.background.Context()) })
	select {
	case <-e.client.Ready():
	case <-ctx.Done():
		return fmt.Errorf("the runtime daemon does not answer: %w", ctx.Err())
	}
	if e.opts.ExternalLogs != "" {
		if err := external.Watch(ctx, e.opts.ExternalLogs, e.store, e.stdio.Keeper, e.background); err != nil {
			return err
		}
	}
	if err := e.sweep(ctx, idle); err != nil {
		return err
	}
	for _, o := range e.all() {
		e.health.Watch(o.Container)
		e.ThawAfter(o.Container, o.Record())
		if o.Record().Stop != nil && o.swept == nil { // else the sweep does it
			e.resumeStop(o)
		}
	}
	return nil
}

// Close ends the engine and leaves its containers running. The callers of its
// methods have to be gone, or their connections closed.
func (e *Engine) Close() error {
	e.background.Stop()
	e.background.Wait()
	errs := []error{e.endClient()}
	e.background.Wait() // what followed exits that were delivered meanwhile
	for _, p := range e.processes.All() {
		if l, err := p.Held(); err == nil && l != nil {
			errs = append(errs, l.Suspend())
		}
	}
	e.clients.Wait()
	if e.images != nil {
		errs = append(errs, e.images.Close())
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	}
	return errors.Join(errs...)
}

// endClient returns how the client layer ended. One that never ran has to run
// for its end too.
func (e *Engine) endClient() error {
	var err error
	switch {
	case e.client == nil:
		return nil
	case e.running:
		err = <-e.runErr
	default:
		err = e.client.Run(e.background.Context())
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
