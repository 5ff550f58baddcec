package remote

import (
	"testing"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	apievents "github.com/containerd/containerd/api/events"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// FuzzMessages reads arbitrary content of an Any that a daemon may send.
func FuzzMessages(f *testing.F) {
	for _, m := range []any{
		&apievents.TaskExit{ContainerID: "c", ID: "e", Pid: 1 << 31, ExitStatus: unknownStatus,
			ExitedAt: &timestamppb.Timestamp{Seconds: -1}},
		&apievents.TaskDelete{ContainerID: "c", Pid: 3}, &apievents.TaskStart{}, &apievents.TaskExecStarted{ExecID: "e",
			Pid: 1<<32 - 1},
		&v1.Metrics{Blkio: &v1.BlkIOStat{IoServiceBytesRecursive: []*v1.BlkIOEntry{{Op: "Read", Value: 1<<64 - 1}}}},
		&v2.Metrics{CPU: &v2.CPUStat{UsageUsec: 1<<64 - 1}, Io: &v2.IOStat{Usage: []*v2.IOEntry{{Rbytes: 1}}}},
	} {
		a, err := typeurl.MarshalAnyToProto(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.TypeUrl, a.Value)
	}
	f.Fuzz(func(t *testing.T, url string, value []byte) {
		m, err := typeurl.UnmarshalAny(&anypb.Any{TypeUrl: url, Value: value})
		if err != nil {
			return
		}
		if e, ok := event(m); ok {
			if e.Type == 0 || e.ProcessID == "" || e.Pid < 0 || e.Pid > lastPid {
				t.Fatalf("event %+v", e)
			}
			good(t, e.Exit)
		}
		if s, err := stats(m); (s == nil) == (err == nil) {
			t.Fatalf("stats %v, %v", s, err)
		}
	})
}

// FuzzProcess reads arbitrary states of a process.
func FuzzProcess(f *testing.F) {
	for _, p := range []*tasktypes.Process{{}, {ID: "c", Pid: 1<<32 - 1, Status: tasktypes.Status_STOPPED,
		ExitStatus: 70000,
		ExitedAt:   &timestamppb.Timestamp{Seconds: 1 << 40, Nanos: -5}}} {
		b, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var p tasktypes.Process
		if proto.Unmarshal(wire, &p) != nil {
			return
		}
		got := task("c", &p)
		if got.ID != "c" || got.Pid < 0 || got.Pid > lastPid || got.Status < libcontainerd.TaskUnknown ||
			got.Status > libcontainerd.TaskStopped {
			t.Fatalf("%+v", got)
		}
		good(t, got.Exit)
		if got.Status != libcontainerd.TaskStopped && got.Exit != (libcontainerd.Exit{}) {
			t.Fatalf("an exit without an end: %+v", got)
		}
	})
}

// FuzzTrailers completes an exit from arbitrary trailers.
func FuzzTrailers(f *testing.F) {
	f.Add(uint32(0), int64(0), int32(0), trailerOOM, "true", "the keeper was killed")
	f.Add(uint32(unknownStatus), int64(-1), int32(-1), "x-other", "", "")
	f.Fuzz(func(t *testing.T, code uint32, seconds int64, nanos int32, key, oom, unknown string) {
		e := exitOf(code, &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos})
		good(t, e)
		before := e
		md := metadata.Pairs(trailerOOM, "false", trailerUnknown, unknown)
		md.Set(key, oom)
		if v := md.Get(trailerOOM); v[0] != "true" && v[0] != "false" {
			return // the daemon is asked then
		}
		(&Daemon{}).complete(t.Context(), "c", libcontainerd.InitProcess, &e, exitTrailer{md})
		good(t, e)
		if (e.Unknown == "") != (before.Unknown == "") || e.Code != before.Code ||
			e.OOMKilled != (md.Get(trailerOOM)[0] == "true") {
			t.Fatalf("%+v became %+v by %v", before, e, md)
		}
	})
}
