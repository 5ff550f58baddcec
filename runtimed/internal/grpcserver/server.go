package grpcserver

import (
	"context"
	"fmt"
	"net/http"
	"path"

	"github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/engine-lite/engine-lite/runtimed/internal/core"
)

const (
	maxMessage = 16 << 20 // bytes of one request or answer, as containerd has it
)

// Config is what the server needs beside the core.
type Config struct {
	// Version is what the version service tells.
	Version string
	// Trace begins a span of a request, below the one that its metadata names, and returns what ends it; nil where
	// nobody records.
	Trace func(ctx context.Context, name string, header http.Header) (context.Context, func())
}

// New makes the gRPC server with all services. Requests end when ctx does.
func New(ctx context.Context, d *core.Daemon, config Config) *grpc.Server {
	s := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(func(rctx context.Context, r any, info *grpc.UnaryServerInfo,
			handle grpc.UnaryHandler) (any, error) {
			rctx, end := config.traced(rctx, info.FullMethod)
			defer end()
			answer, err := handle(rctx, r)
			return answer, toGRPC(err)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo,
			handle grpc.StreamHandler) error {
			return toGRPC(handle(srv, stream))
		}),
	)
	containers.RegisterContainersServer(s, &containersAPI{d: d})
	tasks.RegisterTasksServer(s, &tasksAPI{d: d, daemon: ctx})
	eventsapi.RegisterEventsServer(s, &eventsAPI{d: d, daemon: ctx})
	namespaces.RegisterNamespacesServer(s, &namespacesAPI{d: d})
	version.RegisterVersionServer(s, &versionAPI{version: config.Version})
	introspection.RegisterIntrospectionServer(s, &introspectionAPI{runtime: d.DefaultRuntime()})
	healthapi.RegisterHealthServer(s, health.NewServer())
	return s
}

// traced begins a request's span, where somebody records the request.
func (c Config) traced(ctx context.Context, method string) (context.Context, func()) {
	parent := metadata.ValueFromIncomingContext(ctx, "traceparent")
	if c.Trace == nil || len(parent) == 0 {
		return ctx, func() {}
	}
	return c.Trace(ctx, "runtimed "+path.Base(method), http.Header{"Traceparent": parent[:1]})
}

// toGRPC gives an error its code. That of a request that ended is the context's.
func toGRPC(err error) error {
	if err == nil {
		return nil
	}
	return errgrpc.ToGRPC(err)
}

// untilStop returns the context of a request that also ends when the daemon stops.
func untilStop(ctx, daemon context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(daemon, func() { cancel(fmt.Errorf("runtimed is stopping: %w", errdefs.ErrUnavailable)) })
	return ctx, func() { stop(); cancel(nil) }
}
