package runtimed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/engine-lite/engine-lite/internal/unixsocket"
	"github.com/engine-lite/engine-lite/runtimed/internal/core"
	"github.com/engine-lite/engine-lite/runtimed/internal/criu"
	"github.com/engine-lite/engine-lite/runtimed/internal/grpcserver"
)

// Options are the options of New. Root, Address and Keeper are required.
type Options struct {
	// Root is the absolute path of the state directory. New makes it with mode 0700 if it doesn't exist.
	Root string
	// Address is the absolute path of the unix socket to serve. Run makes the socket with mode 0600.
	Address string
	// Keeper is the absolute path of the keeper's socket. The keeper must be an ancestor of this process, and its child
	// subreaper.
	Keeper string
	// Runtime is the name or the path of an OCI runtime. Empty means crun if it runs on this host, else runc.
	Runtime string
	// ParentGroup is the control group below which all containers are made: its name, which has no slash, below the root
	// of each hierarchy. The daemon removes the group a second after the last container. If ParentGroup is empty, the
	// daemon removes no such group.
	ParentGroup string
	// Version is the version that the daemon reports to clients.
	Version string
	// Trace, if not nil, is called at the beginning of each request. It begins a span, a child of the span that header
	// (the request's gRPC metadata) names. The daemon handles the request with the returned context, and then calls the
	// returned function, which ends the span.
	Trace func(ctx context.Context, name string, header http.Header) (context.Context, func())
	// Log receives the daemon's messages. nil is logrus' standard logger.
	Log *logrus.Entry
}

// stopGrace is how long requests may take to end by themselves when the daemon stops.
const stopGrace = 2 * time.Second

// Daemon is a runtime daemon. New makes one, and Run runs it.
type Daemon struct {
	core    *core.Daemon
	address string
	config  grpcserver.Config
}

// New locks the root, chooses the OCI runtime, connects to the keeper and takes over the containers that an earlier
// daemon left. ctx bounds New, and nothing after it. The caller must Close the daemon, after Run if it calls Run.
//
// Errors: InvalidArgument for bad options; FailedPrecondition if another daemon has the root, if a newer release wrote
// the root, or if no OCI runtime works; Unavailable if the keeper doesn't answer.
func New(ctx context.Context, opts Options) (*Daemon, error) {
	if !filepath.IsAbs(opts.Root) || !filepath.IsAbs(opts.Address) || !filepath.IsAbs(opts.Keeper) {
		return nil, fmt.Errorf("root %q, address %q and keeper %q must be absolute paths: %w",
			opts.Root, opts.Address, opts.Keeper, errdefs.ErrInvalidArgument)
	}
	c, err := core.New(ctx, core.Options{
		Root: opts.Root, Keeper: opts.Keeper, Runtime: opts.Runtime, ParentGroup: opts.ParentGroup, Log: opts.Log,
	})
	if err != nil {
		return nil, err
	}
	return &Daemon{core: c, address: opts.Address,
		config: grpcserver.Config{Version: opts.Version, Trace: opts.Trace}}, nil
}

// Run serves the socket and handles exits until ctx ends. Then waits end with Unavailable, operations that are in
// progress are finished, and Run returns when all goroutines that it started have ended. Containers run on. Run may be
// called once.
//
// Errors: FailedPrecondition if the address is no socket, or another process serves it; Unavailable when the keeper
// that started this process dies.
func (d *Daemon) Run(ctx context.Context) error {
	listener, err := unixsocket.Listen(ctx, "unix", d.address, 0o600) // the root's lock keeps others away
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := grpcserver.New(ctx, d.core, d.config)
	var group errgroup.Group
	group.Go(func() error {
		defer cancel()
		if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		defer cancel()
		return d.core.HandleExits(ctx)
	})
	group.Go(func() error {
		<-ctx.Done()
		stop := time.AfterFunc(stopGrace, server.Stop)
		defer stop.Stop()
		server.GracefulStop()
		return nil
	})
	err = group.Wait()
	d.core.Wait()
	return err
}

// Close unlocks the root. Containers run on. Call it after Run has returned, or if Run was never called.
func (d *Daemon) Close() error { return d.core.Close() }

// ExecCRIU must be the first call of a program that runs a [Daemon]. For a checkpoint, the daemon lets the OCI runtime
// start this program in place of CRIU. ExecCRIU then executes CRIU with additional arguments (see execve(2)), and
// returns only an error. If the OCI runtime has not started this program, ExecCRIU does nothing and returns nil.
func ExecCRIU() error { return criu.Exec() }

// StandsForCRIU reports whether an OCI runtime has started this program in place of CRIU.
func StandsForCRIU() bool { return criu.RunsAsCRIU() }
