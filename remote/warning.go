package remote

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// trailerWarning is a gRPC trailer in runtimed's answers to Create and Exec. It comes once
// for each limit or privilege of the spec that the host doesn't allow; its value is a text
// for the user.
const trailerWarning = "engine-lite-warning"

// warnings are the warnings in a call's trailer.
type warnings struct{ md metadata.MD }

func (w *warnings) option() grpc.CallOption { return grpc.Trailer(&w.md) }

// pass calls warn, if it isn't nil, with each warning.
func (w *warnings) pass(warn func(string)) {
	if warn == nil {
		return
	}
	for _, text := range w.md.Get(trailerWarning) {
		warn(text)
	}
}
