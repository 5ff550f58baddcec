package grpcserver

import (
	"context"
	"os"

	"github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

// versionAPI is containerd's version service.
type versionAPI struct {
	version.UnimplementedVersionServer
	version string
}

// Version tells which build this is; the revision names the program.
func (a *versionAPI) Version(context.Context, *emptypb.Empty) (*version.VersionResponse, error) {
	return &version.VersionResponse{Version: a.version, Revision: "engine-lite-runtimed"}, nil
}

// introspectionAPI is the part of containerd's introspection service that clients ask at their start.
type introspectionAPI struct {
	introspection.UnimplementedIntrospectionServer
	runtime string // path of the default OCI runtime
}

// Server tells the daemon's process id.
func (*introspectionAPI) Server(context.Context, *emptypb.Empty) (*introspection.ServerResponse, error) {
	return &introspection.ServerResponse{Pid: uint64(os.Getpid())}, nil
}

// Plugins lists one, which has containerd's name for the plugin that runs tasks. Its export "oci-runtime" is the path of
// the default OCI runtime. Filters are passed over.
func (a *introspectionAPI) Plugins(
	context.Context, *introspection.PluginsRequest,
) (*introspection.PluginsResponse, error) {
	return &introspection.PluginsResponse{Plugins: []*introspection.Plugin{{
		Type: "io.containerd.runtime.v2", ID: "task", Exports: map[string]string{"oci-runtime": a.runtime},
	}}}, nil
}
