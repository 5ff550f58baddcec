// Package remote has the [libcontainerd.Daemon] for real runtime daemons. It is a client
// of containerd's gRPC API, and works with containerd 1.6 and 2.x and with runtimed,
// engine-lite's own runtime daemon, which serves the same API.
//
//	libcontainerd.Client -> remote.Daemon --gRPC, unix socket--> runtimed
//	                                                  or containerd -> shims
//
// [New] connects to a daemon that runs already. If the connection is lost, the Daemon
// dials again for as long as it is open; meanwhile its calls fail with Unavailable at
// once. Errors have the classes of github.com/containerd/errdefs and the text of the
// daemon.
//
// [Supervise] starts a containerd, and starts it again whenever it ends.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/errdefs"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Options are the options of New.
type Options struct {
	// Address is the absolute path of the daemon's unix socket.
	Address string
	// Namespace is containerd's namespace for the containers. It must be a valid
	// identifier of containerd: letters and digits with single '.', '_' or '-'
	// between them.
	Namespace string
	// MaxMessage is the size of the largest message in either direction, in bytes. 0
	// is 64 MiB.
	MaxMessage int
}

// defaultMaxMessage is enough for a list of some hundred thousand tasks.
const defaultMaxMessage = 64 << 20

// The delays before dialling again. They are short, since a daemon restarts in little
// time, and a try costs next to nothing on a unix socket.
const (
	redialFirst   = 20 * time.Millisecond
	redialLongest = time.Second
)

// Daemon is the client of a runtime daemon: a libcontainerd.Daemon and a
// libcontainerd.Copier, whose documentation says what the methods do. Methods may be
// called from any goroutine. The caller must Close it.
type Daemon struct {
	options       Options
	conn          *grpc.ClientConn
	containers    containersapi.ContainersClient
	tasks         tasksapi.TasksClient
	events        eventsapi.EventsClient
	version       versionapi.VersionClient
	health        grpc_health_v1.HealthClient
	introspection introspectionapi.IntrospectionClient
	pauses        pauseLocks
	isRuntimed    atomic.Bool // by the daemon's last answer to ask
}

// New connects to a daemon and asks for its version. ctx bounds that and nothing after
// it; until ctx ends, New waits for a daemon that isn't there yet. The error is
// InvalidArgument for invalid options, else Unavailable.
func New(ctx context.Context, o Options) (*Daemon, error) {
	if !filepath.IsAbs(o.Address) {
		return nil, fmt.Errorf("runtime daemon's address %q is not an absolute path: %w", o.Address,
			errdefs.ErrInvalidArgument)
	}
	if err := libcontainerd.CheckID(o.Namespace); err != nil {
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
		containers:    containersapi.NewContainersClient(conn),
		tasks:         tasksapi.NewTasksClient(conn),
		events:        eventsapi.NewEventsClient(conn),
		version:       versionapi.NewVersionClient(conn),
		health:        grpc_health_v1.NewHealthClient(conn),
		introspection: introspectionapi.NewIntrospectionClient(conn),
	}
	if _, err := d.ask(ctx, grpc.WaitForReady(true)); err != nil {
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
			err := native(invoke(traced(inNamespace(ctx, o.Namespace)), method, req, reply, cc, opts...))
			s.End(err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := stream(inNamespace(ctx, o.Namespace), desc, cc, method, opts...)
			return s, native(err)
		}),
	}
}

// namespaceHeader is the key of a request's metadata that names containerd's namespace.
const namespaceHeader = "containerd-namespace"

// inNamespace puts the namespace into the request's metadata. The namespace replaces one that the caller's ctx has:
// an engine may use containerd's own client beside this one, in another namespace.
func inNamespace(ctx context.Context, namespace string) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx) // a copy
	if !ok {
		md = metadata.MD{}
	}
	md.Set(namespaceHeader, namespace)
	return metadata.NewOutgoingContext(ctx, md)
}

// traced adds the span of ctx, if one is recorded, to the request's metadata in the form
// of W3C Trace Context, so that the daemon records its spans below it.
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

// Close closes the connection, and ends all calls that are in progress.
func (d *Daemon) Close() error { return d.conn.Close() }

// runtimedRevision is the revision in the answer of runtimed, of every release, to a request for its version.
const runtimedRevision = "engine-lite-runtimed"

// ask asks the daemon for its version, and notes whether the daemon is runtimed.
func (d *Daemon) ask(ctx context.Context, opts ...grpc.CallOption) (version string, err error) {
	v, err := d.version.Version(ctx, &emptypb.Empty{}, opts...)
	if err != nil {
		return "", err
	}
	d.isRuntimed.Store(v.Revision == runtimedRevision)
	return v.Version, nil
}

// CopiesOutput returns false if the daemon says that it is runtimed, and true for any other daemon: if such a daemon
// doesn't copy the output, nothing is lost. The client asks which daemon serves in New, in each Subscribe and in each
// Version. So if another daemon serves at the address after a lost connection, CopiesOutput is right as soon as the
// client has subscribed again.
func (d *Daemon) CopiesOutput() bool { return !d.isRuntimed.Load() }

// Version returns the daemon's name and version. The name is "runtimed", or "containerd" for any other daemon.
func (d *Daemon) Version(ctx context.Context) (name, version string, err error) {
	version, err = d.ask(ctx)
	if err != nil {
		return "", "", err
	}
	if d.CopiesOutput() {
		return "containerd", version, nil
	}
	return "runtimed", version, nil
}

// DefaultRuntime returns the path, on the daemon's machine, of the OCI runtime of containers that name none. It is
// empty where the daemon doesn't tell: only runtimed does.
func (d *Daemon) DefaultRuntime(ctx context.Context) (string, error) {
	r, err := d.introspection.Plugins(ctx, &introspectionapi.PluginsRequest{Filters: []string{"type==io.containerd.runtime.v2"}})
	for _, p := range r.GetPlugins() {
		if path := p.GetExports()["oci-runtime"]; path != "" {
			return path, nil
		}
	}
	return "", err
}

// Healthy returns nil if the daemon reports that it serves, see gRPC's health checking
// protocol. Else the error is Unavailable, or that of the call.
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
