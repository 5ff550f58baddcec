package runtimed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"time"

	"github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

const (
	maxMessage = 16 << 20        // bytes of one request or answer, as containerd has it
	stopGrace  = 2 * time.Second // for requests to end by themselves
)

// Run serves the socket and handles exits until ctx ends, then stops: waits end with Unavailable, operations that are under way are finished. It
// returns when all that it started has ended. Containers run on. Run may be called once. It fails with class Unavailable when the keeper that
// started this process dies.
func (d *Daemon) Run(ctx context.Context) error {
	listener, err := listen(ctx, d.opts.Address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := d.newServer(ctx)
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
		return d.keeper.follow(ctx, d.onExit, func() { d.sweep(); d.watchOrphans(ctx) })
	})
	group.Go(func() error {
		<-ctx.Done()
		stop := time.AfterFunc(stopGrace, server.Stop)
		defer stop.Stop()
		server.GracefulStop()
		return nil
	})
	err = group.Wait()
	d.work.Wait()
	return err
}

// listen makes the socket, 0600. It may remove one that is there: whoever has the root's lock is the only one to serve it, and an address that
// somebody answers at is refused.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s is there and no socket: %w", path, errdefs.ErrFailedPrecondition)
		}
		dialer := net.Dialer{Timeout: time.Second}
		if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
			conn.Close() // nothing was sent
			return nil, fmt.Errorf("somebody serves %s: %w", path, errdefs.ErrFailedPrecondition)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// newServer makes the gRPC server with all services. Requests end when ctx does.
func (d *Daemon) newServer(ctx context.Context) *grpc.Server {
	s := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(func(rctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			rctx, end := d.traced(rctx, info.FullMethod)
			defer end()
			answer, err := handle(rctx, r)
			return answer, toGRPC(err)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			return toGRPC(handle(srv, stream))
		}),
	)
	containers.RegisterContainersServer(s, &containersAPI{d: d})
	tasks.RegisterTasksServer(s, &tasksAPI{d: d, life: ctx})
	eventsapi.RegisterEventsServer(s, &eventsAPI{d: d, life: ctx})
	namespaces.RegisterNamespacesServer(s, &namespacesAPI{d: d})
	version.RegisterVersionServer(s, &versionAPI{d: d})
	introspection.RegisterIntrospectionServer(s, &introspectionAPI{})
	healthapi.RegisterHealthServer(s, health.NewServer())
	return s
}

// traced begins a request's span, where somebody records the request.
func (d *Daemon) traced(ctx context.Context, method string) (context.Context, func()) {
	parent := metadata.ValueFromIncomingContext(ctx, "traceparent")
	if d.opts.Trace == nil || len(parent) == 0 {
		return ctx, func() {}
	}
	return d.opts.Trace(ctx, "runtimed "+path.Base(method), http.Header{"Traceparent": parent[:1]})
}

// toGRPC gives an error its code. That of a request that ended is the context's.
func toGRPC(err error) error {
	if err == nil {
		return nil
	}
	return errgrpc.ToGRPC(err)
}

// bounded is the context of a request that also ends when the daemon stops.
func bounded(ctx, life context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(life, func() { cancel(fmt.Errorf("runtimed is stopping: %w", errdefs.ErrUnavailable)) })
	return ctx, func() { stop(); cancel(nil) }
}
