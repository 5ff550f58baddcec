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

// Options tell a daemon where it lives. All but Runtime, Log and Version are required.
type Options struct {
	// Root is the state directory, made 0700 if it is missing. An absolute path.
	Root string
	// Address is the path of the unix socket to serve, which gets mode 0600.
	Address string
	// Keeper is the path of the keeper's socket. The keeper must be the parent, or a further ancestor, and subreaper
	// of this process.
	Keeper string
	// Runtime is an OCI runtime's name or path; empty for crun where it runs on this host, else runc.
	Runtime string
	// ParentGroup is the control group below which all containers are made, by its name below the root of the control
	// groups. The daemon removes the group a second after the last container; empty for a group that is left alone.
	ParentGroup string
	// Version is what the version service tells.
	Version string
	// Trace begins a span of a request, below the one that its metadata names, and returns what ends it; nil where
	// nobody records.
	Trace func(ctx context.Context, name string, header http.Header) (context.Context, func())
	// Log takes messages; nil for logrus's standard logger.
	Log *logrus.Entry
}

// stopGrace is how long requests may take to end by themselves when the daemon stops.
const stopGrace = 2 * time.Second

// Daemon serves one root. Make it with [New], let it work with [Daemon.Run].
type Daemon struct {
	core    *core.Daemon
	address string
	config  grpcserver.Config
}

// New locks the root, chooses the OCI runtime, connects to the keeper and takes over the containers that an earlier
// daemon left. The caller runs or closes the daemon.
//
// Errors: FailedPrecondition if another daemon has the root, a newer one wrote it, or no OCI runtime works,
// Unavailable without a keeper, InvalidArgument for bad options.
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

// Run serves the socket and handles exits until ctx ends, then stops: waits end with Unavailable, operations that are
// under way are finished. It returns when all that it started has ended. Containers run on. Run may be called once.
// It fails with class Unavailable when the keeper that started this process dies.
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

// Close gives up the root. Containers run on. It may only be called once Run has returned or if it was never called.
func (d *Daemon) Close() error { return d.core.Close() }

// ExecCRIU becomes CRIU, with further arguments, if an OCI runtime has started this program under CRIU's name; else
// it does nothing. The program that runs a [Daemon] calls it first of all. It returns only without having become
// CRIU.
func ExecCRIU() error { return criu.Exec() }

// StandsForCRIU tells whether an OCI runtime has started this program under CRIU's name.
func StandsForCRIU() bool { return criu.RunsAsCRIU() }
