package remote

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// TrailerWarning is in runtimed's answers to Create and Exec, once for each thing
// that the process gets less of than its spec asks for, since the host withholds it.
const TrailerWarning = "engine-lite-warning"

// warnings is what a call's trailer warned of.
type warnings struct{ md metadata.MD }

func (w *warnings) option() grpc.CallOption { return grpc.Trailer(&w.md) }

func (w *warnings) tell(warn func(string)) {
	if warn == nil {
		return
	}
	for _, text := range w.md.Get(TrailerWarning) {
		warn(text)
	}
}
