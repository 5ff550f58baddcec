// Package remote is a runtime daemon over containerd's gRPC API, as package
// libcontainerd needs it: one client for engine-lite's own runtimed and for
// containerd 1.6 and 2.x.
//
//	libcontainerd.Client -> remote.Daemon --gRPC, unix socket--> runtimed
//	                                                  or containerd -> shims
//
// A connection that is lost is dialled again as long as the Daemon is open;
// calls meanwhile fail as Unavailable at once. Errors carry the classes of
// github.com/containerd/errdefs and the daemon's own words.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/engine-lite/engine-lite/internal/span"
)

// Options say which daemon is meant.
type Options struct {
	// Address is the absolute path of the daemon's unix socket.
	Address string
	// Namespace is where the daemon keeps the containers; see containerd's
	// documentation of namespaces. Names pass the rule of its identifiers.
	Namespace string
	// CopiesOutput tells that the daemon copies the output of processes into
	// the FIFOs, as containerd's shims do and runtimed doesn't.
	CopiesOutput bool
	// MaxMessage is the largest message either way, in bytes; 0 is 64 MiB.
	MaxMessage int
}

// defaultMaxMessage holds lists of some hundred thousand tasks.
const defaultMaxMessage = 64 << 20

// Dialling again begins quickly, since a daemon's restart takes little time,
// and stays frequent, since it costs next to nothing on a unix socket.
const (
	redialFirst   = 20 * time.Millisecond
	redialLongest = time.Second
)

// Daemon is a libcontainerd.Daemon and libcontainerd.Copier. Its methods may be
// called from any goroutine. Close it.
type Daemon struct {
	options    Options
	conn       *grpc.ClientConn
	containers containersapi.ContainersClient
	tasks      tasksapi.TasksClient
	events     eventsapi.EventsClient
	version    versionapi.VersionClient
	health     grpc_health_v1.HealthClient
}

// New connects to a daemon and asks for its version; ctx bounds that, and New
// waits as long for a daemon that isn't there yet. The error is
// InvalidArgument for options that can't be, else Unavailable.
func New(ctx context.Context, o Options) (*Daemon, error) {
	if !filepath.IsAbs(o.Address) {
		return nil, fmt.Errorf("runtime daemon's address %q is not an absolute path: %w", o.Address, errdefs.ErrInvalidArgument)
	}
	if err := identifiers.Validate(o.Namespace); err != nil {
		return nil, fmt.Errorf("runtime daemon's namespace: %w", err)
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = defaultMaxMessage
	}
	conn, err := grpc.NewClient("unix://"+o.Address, dialOptions(o)...)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the runtime daemon at %q: %w", o.Address, err)
	}
	d := &Daemon{
		options: o, conn: conn,
		containers: containersapi.NewContainersClient(conn),
		tasks:      tasksapi.NewTasksClient(conn),
		events:     eventsapi.NewEventsClient(conn),
		version:    versionapi.NewVersionClient(conn),
		health:     grpc_health_v1.NewHealthClient(conn),
	}
	if _, err := d.version.Version(ctx, &emptypb.Empty{}, grpc.WaitForReady(true)); err != nil {
		return nil, errors.Join(fmt.Errorf("no answer from the runtime daemon at %q: %w: %w", o.Address,
			errdefs.ErrUnavailable, err), conn.Close())
	}
	return d, nil
}

func dialOptions(o Options) []grpc.DialOption {
	redial := backoff.DefaultConfig
	redial.BaseDelay, redial.MaxDelay = redialFirst, redialLongest
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a unix socket's mode guards it
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(o.MaxMessage), grpc.MaxCallSendMsgSize(o.MaxMessage)),
		grpc.WithIdleTimeout(0),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
			invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			ctx, s := span.Start(ctx, method)
			err := native(invoke(traced(namespaces.WithNamespace(ctx, o.Namespace)), method, req, reply, cc, opts...))
			s.End(err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := stream(namespaces.WithNamespace(ctx, o.Namespace), desc, cc, method, opts...)
			return s, native(err)
		}),
	}
}

// traced tells the daemon which span a request is below, where somebody records it.
func traced(ctx context.Context) context.Context {
	if span.Of(ctx) == nil {
		return ctx
	}
	header := http.Header{}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	for key := range header {
		ctx = metadata.AppendToOutgoingContext(ctx, key, header.Get(key))
	}
	return ctx
}

// native gives an error of the wire its class.
func native(err error) error {
	if err == nil {
		return nil
	}
	return errgrpc.ToNative(err)
}

// Close ends the connection, and all calls that are in flight.
func (d *Daemon) Close() error { return d.conn.Close() }

// CopiesOutput is what the options say.
func (d *Daemon) CopiesOutput() bool { return d.options.CopiesOutput }

// Version names the daemon, as far as its API does.
func (d *Daemon) Version(ctx context.Context) (name, version string, err error) {
	v, err := d.version.Version(ctx, &emptypb.Empty{})
	if err != nil {
		return "", "", err
	}
	name = "runtimed"
	if d.options.CopiesOutput {
		name = "containerd"
	}
	return name, v.Version, nil
}

// Healthy is nil when the daemon says that it serves.
func (d *Daemon) Healthy(ctx context.Context) error {
	r, err := d.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("the runtime daemon is %v: %w", r.Status, errdefs.ErrUnavailable)
	}
	return nil
}
