package grpcserver

import (
	"context"
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/engine-lite/engine-lite/runtimed/internal/core"
)

// namespaceHeader is the request header that names the namespace, as containerd has it.
const namespaceHeader = "containerd-namespace"

// namespaceOf reads the namespace of a request. InvalidArgument without one, or for one that none can have.
func namespaceOf(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, namespaceHeader)
	if len(values) != 1 {
		return "", fmt.Errorf("a request needs one %s header and has %d: %w",
			namespaceHeader, len(values), errdefs.ErrInvalidArgument)
	}
	if err := core.ValidID("namespace", values[0]); err != nil {
		return "", err
	}
	return values[0], nil
}

// Trailers of the answers that tell of an exit (Wait, Get, Delete, DeleteProcess): containerd's messages have no
// field for either.
const (
	trailerUnknown = "engine-lite-exit-unknown" // the reason why a status is unknown; absent where it is known
	trailerOOM     = "engine-lite-oom-killed"   // "true" or "false"
)

// trailerWarning is in the answers to Create and Exec, once for each thing that the host withholds and that the
// process therefore gets less of.
const trailerWarning = "engine-lite-warning"

func warn(ctx context.Context, warnings []string) error {
	if len(warnings) == 0 {
		return nil
	}
	return grpc.SetTrailer(ctx, metadata.MD{trailerWarning: warnings})
}

// sendExit adds the trailers of an exit to the answer of a request.
func sendExit(ctx context.Context, e core.ExitRecord) error {
	md := metadata.Pairs(trailerOOM, strconv.FormatBool(e.OOM))
	if e.Unknown != "" {
		md.Set(trailerUnknown, e.Unknown)
	}
	return grpc.SetTrailer(ctx, md)
}
