package remote

import (
	"context"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// native returns a gRPC error as an error with a class of errdefs.
func native(err error) error {
	if err == nil {
		return nil
	}
	return errgrpc.ToNative(endOfContext(err))
}

// contextEnds are the ends of a context that containerd tells in an error's text only.
var contextEnds = map[codes.Code]string{
	codes.DeadlineExceeded: context.DeadlineExceeded.Error(),
	codes.Canceled:         context.Canceled.Error(),
}

// endOfContext gives an error of code Unknown the code of the end of a context, if that is
// what its text ends with. containerd 1.6 sends such errors when the request's time is over
// while its shim works: the shim's errors lose their class on the way, and keep a last word,
// "unknown".
func endOfContext(err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.Unknown {
		return err
	}
	text := strings.TrimSuffix(s.Message(), ": "+errdefs.ErrUnknown.Error())
	for code, end := range contextEnds {
		if text == end || strings.HasSuffix(text, ": "+end) {
			recoded := s.Proto()
			recoded.Code, recoded.Message = int32(code), text
			return status.ErrorProto(recoded)
		}
	}
	return err
}
