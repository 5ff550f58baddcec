package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/moby/sys/user"
	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/api"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/internal/span/otlpfile"
	"github.com/engine-lite/engine-lite/internal/unixsocket"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/runtimed"
)

const (
	// startTimeout bounds how long keeper and runtime daemon may take to answer.
	startTimeout = 30 * time.Second
	// stopGrace is what requests have to end when the engine goes down.
	stopGrace = 5 * time.Second
)

// serve wires the parts and serves the API until ctx ends. Keeper, runtime
// daemon and containers run on.
func (c *config) serve(ctx context.Context) (err error) {
	runtimes, err := c.addedRuntimes()
	if err != nil {
		return err
	}
	c.addUsual(runtimes)
	tracer, err := otlpfile.Open(c.trace, "engine-lite")
	if err != nil {
		return err
	}
	defer closing(&err, tracer.Close)
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	hold, err := keeper.Start(starting, c.keeperOptions())
	if err != nil {
		return err
	}
	defer closing(&err, hold.Close)
	daemon, release, err := c.connect(starting)
	if err != nil {
		return err
	}
	defer closing(&err, release)
	name, err := c.defaultRuntime(starting, daemon)
	if err != nil {
		return err
	}
	runs, groups, err := c.withParentGroup(daemon)
	if err != nil {
		return err
	}
	defer closing(&err, groups.Close)
	e, err := engine.Open(starting, engine.Options{
		Root: c.root, Run: c.run, Version: version, Runtime: name, Runtimes: runtimes, Shims: c.onContainerd(),
		ExternalLogs: filepath.Join(c.run, "oci"),
		QuietProbes:  c.quietProbes,
		Experimental: c.experimental,
		EventsMaxAge: c.events.maxAge, EventsMaxBytes: c.events.maxBytes,
	},
		runs, libcontainerd.FIFO(filepath.Join(c.run, "stdio")), hold)
	if err != nil {
		return err
	}
	defer closing(&err, e.Close)
	listener, err := c.listen(starting)
	if err != nil {
		return err
	}
	defer closing(&err, c.writePid())
	logrus.WithFields(logrus.Fields{"socket": c.socket, "version": version}).Info("engine-lite is ready")
	options := api.Options{Version: version, Experimental: c.experimental}
	if tracer != nil {
		options.Trace = tracer.Begin
	}
	return c.serveAPI(ctx, api.New(e, options), hold, listener)
}

// serveAPI serves until ctx ends or the keeper is gone: an engine that can't
// keep streams alive must not start anything, and a new one starts a new keeper.
func (c *config) serveAPI(ctx context.Context, h *api.Handler, hold *keeper.Client, l net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { // ends with ctx or with the keeper
		select {
		case <-hold.Done():
			cancel(errors.New("the keeper is gone: restart engine-lite, containers run on"))
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel(nil)
	err := api.Serve(ctx, h, stopGrace, l)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	return err
}

// closing joins the error of a deferred close.
func closing(err *error, fn func() error) { *err = errors.Join(*err, fn()) }

func (c *config) keeperOptions() keeper.Options {
	o := keeper.Options{
		Binary: filepath.Join(c.binaries, "keeper"), Dir: filepath.Join(c.run, "keeper"),
		Log: filepath.Join(c.run, "keeper.log"), RuntimedLog: filepath.Join(c.run, "runtimed.log"),
	}
	if c.onContainerd() {
		return o
	}
	config := runtimed.Config{
		Root: filepath.Join(c.run, "runtimed"), Address: c.daemonAddress(),
		Keeper:  filepath.Join(c.run, "keeper", keeper.SocketName),
		Runtime: c.runtime, ParentGroup: spec.ParentGroup, Trace: c.trace, LogLevel: c.logLevel,
	}
	o.Runtimed = append([]string{filepath.Join(c.binaries, runtimed.Program)}, config.Args()...)
	return o
}

// listen opens the API's socket, for root and the group that was named. The lock of the directories doesn't tell whose
// socket it is, since --socket may name one elsewhere: a socket that somebody serves stays.
func (c *config) listen(ctx context.Context) (net.Listener, error) {
	l, err := unixsocket.Listen(ctx, "unix", c.socket, 0o600)
	if err != nil || c.group == "" {
		return l, err
	}
	group, err := user.LookupGroup(c.group)
	if err == nil {
		err = errors.Join(os.Chown(c.socket, -1, group.Gid), os.Chmod(c.socket, 0o660))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--group %s: %w", c.group, err), l.Close())
	}
	return l, nil
}

// writePid writes the process id for scripts, and returns what removes it.
func (c *config) writePid() func() error {
	path := filepath.Join(c.run, "engine.pid")
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return func() error { return fmt.Errorf("pid file: %w", err) }
	}
	return func() error { return os.Remove(path) }
}
