package remote

import (
	"testing"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// BenchmarkEventDecode turns a message of gRPC into an event of package libcontainerd.
func BenchmarkEventDecode(b *testing.B) {
	sent, err := typeurl.MarshalAnyToProto(&apievents.TaskExit{
		ContainerID: "0123456789012345678901234567890123456789012345678901234567890123", ID: "e", Pid: 4, ExitStatus: 7,
		ExitedAt: timestamppb.Now(),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		message, err := typeurl.UnmarshalAny(sent)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := event(message); !ok {
			b.Fatal("not an event")
		}
	}
}
