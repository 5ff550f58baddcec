// Package grpcserver serves containerd's gRPC API for a daemon: it reads requests and answers them, and knows nothing
// of containers itself.
package grpcserver
