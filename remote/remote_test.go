package remote

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	apievents "github.com/containerd/containerd/api/events"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{
		{}, {Address: "relative.sock", Namespace: "n"}, {Address: "/x.sock"}, {Address: "/x.sock", Namespace: "../n"},
		{Address: "/x.sock", Namespace: "a..b"}, {Address: "/x.sock", Namespace: strings.Repeat("n", 77)},
	} {
		if _, err := New(t.Context(), o); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestInNamespace checks that a request has one namespace: the client's, whatever the caller's context has.
func TestInNamespace(t *testing.T) {
	callers := metadata.AppendToOutgoingContext(t.Context(), "containerd-namespace", "other", "key", "value")
	for _, ctx := range []context.Context{t.Context(), callers} {
		before, _ := metadata.FromOutgoingContext(ctx)
		md, _ := metadata.FromOutgoingContext(inNamespace(ctx, "ours"))
		if got := md.Get("containerd-namespace"); !slices.Equal(got, []string{"ours"}) {
			t.Errorf("namespaces of the request: %q", got)
		}
		if got := md.Get("key"); !slices.Equal(got, before.Get("key")) {
			t.Errorf("the caller's metadata became %q", got)
		}
	}
	if md, _ := metadata.FromOutgoingContext(callers); !slices.Equal(md.Get("containerd-namespace"), []string{"other"}) {
		t.Errorf("the caller's own context became %v", md)
	}
}

func TestRuntimeType(t *testing.T) {
	for name, want := range map[string]string{
		"": defaultRuntime, "io.containerd.kata.v2": "io.containerd.kata.v2",
		"io.containerd.kata-qemu.v2":            "io.containerd.kata-qemu.v2",
		"aws.firecracker":                       "aws.firecracker",
		"/opt/kata/bin/containerd-shim-kata-v2": "/opt/kata/bin/containerd-shim-kata-v2",
	} {
		if got, err := runtimeType(name); got != want || err != nil {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"kata", "../x", "./kata.v2", "io.containerd../x", "io.containerd.kata.v2 ",
		"bin/kata.v2", ".", "a..b"} {
		if _, err := runtimeType(name); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNewWithoutDaemon(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := New(ctx, Options{Address: filepath.Join(t.TempDir(), "none.sock"), Namespace: "n"})
	if !errdefs.IsUnavailable(err) || !errdefs.IsDeadlineExceeded(err) {
		t.Fatal(err)
	}
}

func TestExitOf(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, c := range []struct {
		status uint32
		at     *timestamppb.Timestamp
		want   libcontainerd.Exit
	}{
		{0, timestamppb.New(at), libcontainerd.Exit{Time: at}},
		{137, timestamppb.New(at), libcontainerd.Exit{Code: 137, Time: at}},
		{255, nil, libcontainerd.Exit{Code: 255}},
		{7, timestamppb.New(time.Time{}), libcontainerd.Exit{Code: 7}},
		{unknownStatus, timestamppb.New(at), libcontainerd.Exit{Unknown: "the runtime daemon does not know the status",
			Time: at}},
	} {
		if got := exitOf(c.status, c.at); got != c.want {
			t.Errorf("%d: %+v, want %+v", c.status, got, c.want)
		}
	}
}

func TestCompleteTakesTrailers(t *testing.T) {
	d := &Daemon{}
	e := libcontainerd.Exit{Unknown: "unknown"}
	d.complete(t.Context(), "c", libcontainerd.InitProcess, &e,
		exitTrailer{metadata.Pairs(trailerUnknown, "the keeper was killed", trailerOOM, "true")})
	if !e.OOMKilled || e.Unknown != "the keeper was killed" {
		t.Errorf("%+v", e)
	}
	known := libcontainerd.Exit{Code: 3}
	d.complete(t.Context(), "c", "exec", &known, exitTrailer{metadata.Pairs(trailerUnknown, "no", trailerOOM, "true")})
	if known != (libcontainerd.Exit{Code: 3}) {
		t.Errorf("%+v", known)
	}
}

func TestTaskStatuses(t *testing.T) {
	for wire, want := range map[tasktypes.Status]libcontainerd.TaskStatus{
		tasktypes.Status_UNKNOWN: libcontainerd.TaskUnknown, tasktypes.Status_CREATED: libcontainerd.TaskCreated,
		tasktypes.Status_RUNNING: libcontainerd.TaskRunning, tasktypes.Status_STOPPED: libcontainerd.TaskStopped,
		tasktypes.Status_PAUSED: libcontainerd.TaskPaused, tasktypes.Status_PAUSING: libcontainerd.TaskPaused,
		99: libcontainerd.TaskUnknown,
	} {
		if got := task("c", &tasktypes.Process{Pid: 5, Status: wire}); got.Status != want || got.Pid != 5 ||
			got.ID != "c" {
			t.Errorf("%v: %+v", wire, got)
		}
	}
}

func TestEvents(t *testing.T) {
	for _, c := range []struct {
		message any
		kind    libcontainerd.DaemonEventType
		process string
		pid     int
	}{
		{&apievents.TaskExit{ContainerID: "c", ID: "c", Pid: 4}, libcontainerd.DaemonExit, libcontainerd.InitProcess,
			4},
		{&apievents.TaskExit{ContainerID: "c", ID: "e", Pid: 5}, libcontainerd.DaemonExit, "e", 5},
		{&apievents.TaskDelete{ContainerID: "c", Pid: 4}, libcontainerd.DaemonDeleted, libcontainerd.InitProcess, 4},
		{&apievents.TaskOOM{ContainerID: "c"}, libcontainerd.DaemonOOM, libcontainerd.InitProcess, 0},
		{&apievents.TaskPaused{ContainerID: "c"}, libcontainerd.DaemonPaused, libcontainerd.InitProcess, 0},
		{&apievents.TaskResumed{ContainerID: "c"}, libcontainerd.DaemonResumed, libcontainerd.InitProcess, 0},
		{&apievents.TaskStart{ContainerID: "c", Pid: 4}, libcontainerd.DaemonStarted, libcontainerd.InitProcess, 4},
		{&apievents.TaskExecAdded{ContainerID: "c", ExecID: "e"}, libcontainerd.DaemonExecAdded, "e", 0},
		{&apievents.TaskExecStarted{ContainerID: "c", ExecID: "e", Pid: 5}, libcontainerd.DaemonExecStarted, "e", 5},
	} {
		got, ok := event(c.message)
		if !ok || got.Type != c.kind || got.ContainerID != "c" || got.ProcessID != c.process || got.Pid != c.pid {
			t.Errorf("%T: %+v, %v", c.message, got, ok)
		}
	}
	if _, ok := event(&apievents.TaskIO{}); ok {
		t.Error("an event that nobody looks at")
	}
}

func TestStats(t *testing.T) {
	s, err := stats(&v1.Metrics{
		CPU:    &v1.CPUStat{Usage: &v1.CPUUsage{Total: 30, User: 20, Kernel: 10, PerCPU: []uint64{1, 2}}},
		Memory: &v1.MemoryStat{Usage: &v1.MemoryEntry{Usage: 100, Max: 200, Limit: 300}, TotalInactiveFile: 5},
		Pids:   &v1.PidsStat{Current: 3}, MemoryOomControl: &v1.MemoryOomControl{OomKill: 1},
		Blkio: &v1.BlkIOStat{IoServiceBytesRecursive: []*v1.BlkIOEntry{{Op: "Read", Value: 1}, {Op: "Write", Value: 2},
			{Op: "Total", Value: 3}}},
	})
	want := libcontainerd.Stats{CPUTotal: 30, CPUUser: 20, CPUKernel: 10, OnlineCPUs: 2, MemoryUsage: 100,
		MemoryMaxUsage: 200,
		MemoryLimit:    300, MemoryInactiveFile: 5, PidsCurrent: 3, OOMKills: 1, BlockRead: 1, BlockWrite: 2}
	if err != nil || *s != want {
		t.Errorf("v1: %+v, %v", s, err)
	}
	s, err = stats(&v2.Metrics{CPU: &v2.CPUStat{UsageUsec: 3, UserUsec: 2, SystemUsec: 1},
		MemoryEvents: &v2.MemoryEvents{OomKill: 2}, Io: &v2.IOStat{Usage: []*v2.IOEntry{{Rbytes: 1, Wbytes: 2},
			{Rbytes: 3}}}})
	if err != nil || s.CPUTotal != 3000 || s.CPUUser != 2000 || s.CPUKernel != 1000 || s.OOMKills != 2 ||
		s.BlockRead != 4 || s.BlockWrite != 2 || s.OnlineCPUs == 0 {
		t.Errorf("v2: %+v, %v", s, err)
	}
	for _, empty := range []any{&v1.Metrics{}, &v2.Metrics{}} {
		if _, err := stats(empty); err != nil {
			t.Errorf("%T: %v", empty, err)
		}
	}
	if _, err := stats(&apievents.TaskOOM{}); !errdefs.IsNotImplemented(err) {
		t.Error(err)
	}
}

func TestWarnings(t *testing.T) {
	w := warnings{metadata.Pairs(trailerWarning, "first", "other", "x", trailerWarning, "second")}
	var got []string
	w.pass(func(text string) { got = append(got, text) })
	if !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("got %q", got)
	}
	w.pass(nil)
}
