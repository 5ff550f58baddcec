package remote

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// hostile is a daemon that answers as its fields say. Calls whose field isn't set fail as
// unimplemented.
type hostile struct {
	versionapi.UnimplementedVersionServer
	tasksapi.UnimplementedTasksServer

	revision   string // of its version
	trailer    metadata.MD
	process    *tasktypes.Process
	list       []*tasktypes.Process
	pids       []*tasktypes.ProcessInfo
	wait       *tasksapi.WaitResponse
	start      *tasksapi.StartResponse
	metrics    []*types.Metric
	events     []*types.Envelope
	containers []*containersapi.Container
	cut        error // how streams end
	hang       bool  // calls about tasks wait for their context
	fails      error // what calls about tasks answer
	refusals   int   // how many pauses fail before one succeeds; 0 is a server without Pause
	pauses     int
}

// hostileEvents and hostileContainers are its other services, whose methods have the same
// names.
type hostileEvents struct {
	eventsapi.UnimplementedEventsServer
	h *hostile
}

type hostileContainers struct {
	containersapi.UnimplementedContainersServer
	h *hostile
}

func (h *hostile) Version(context.Context, *emptypb.Empty) (*versionapi.VersionResponse, error) {
	return &versionapi.VersionResponse{Version: "\x00\n", Revision: h.revision}, nil
}

func (h *hostile) answer(ctx context.Context) error {
	if h.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if h.fails != nil {
		return h.fails
	}
	return grpc.SetTrailer(ctx, h.trailer)
}

func (h *hostile) Get(ctx context.Context, _ *tasksapi.GetRequest) (*tasksapi.GetResponse, error) {
	return &tasksapi.GetResponse{Process: h.process}, h.answer(ctx)
}

func (h *hostile) Pause(ctx context.Context, r *tasksapi.PauseTaskRequest) (*emptypb.Empty, error) {
	if h.refusals == 0 {
		return h.UnimplementedTasksServer.Pause(ctx, r)
	}
	if h.pauses++; h.pauses <= h.refusals {
		return nil, status.Error(codes.Unknown, "OCI runtime pause failed: unable to freeze")
	}
	return &emptypb.Empty{}, nil
}

func (h *hostile) List(ctx context.Context, _ *tasksapi.ListTasksRequest) (*tasksapi.ListTasksResponse, error) {
	return &tasksapi.ListTasksResponse{Tasks: h.list}, h.answer(ctx)
}

func (h *hostile) ListPids(ctx context.Context, _ *tasksapi.ListPidsRequest) (*tasksapi.ListPidsResponse, error) {
	return &tasksapi.ListPidsResponse{Processes: h.pids}, h.answer(ctx)
}

func (h *hostile) Wait(ctx context.Context, _ *tasksapi.WaitRequest) (*tasksapi.WaitResponse, error) {
	return h.wait, h.answer(ctx)
}

func (h *hostile) Start(ctx context.Context, _ *tasksapi.StartRequest) (*tasksapi.StartResponse, error) {
	return h.start, h.answer(ctx)
}

func (h *hostile) Metrics(ctx context.Context, _ *tasksapi.MetricsRequest) (*tasksapi.MetricsResponse, error) {
	return &tasksapi.MetricsResponse{Metrics: h.metrics}, h.answer(ctx)
}

func (e hostileEvents) Subscribe(_ *eventsapi.SubscribeRequest, s eventsapi.Events_SubscribeServer) error {
	for _, envelope := range e.h.events {
		if err := s.Send(envelope); err != nil {
			return err
		}
	}
	return e.h.end(s.Context())
}

func (c hostileContainers) ListStream(_ *containersapi.ListContainersRequest,
	s containersapi.Containers_ListStreamServer) error {
	for _, record := range c.h.containers {
		if err := s.Send(&containersapi.ListContainerMessage{Container: record}); err != nil {
			return err
		}
	}
	return c.h.end(s.Context())
}

func (h *hostile) end(ctx context.Context) error {
	if h.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.cut
}

// serve serves the daemon, and returns a client. Both end with the test.
func (h *hostile) serve(t *testing.T) (*Daemon, *grpc.Server) {
	t.Helper()
	address := filepath.Join(t.TempDir(), "h.sock")
	server := h.listen(t, address)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := New(ctx, Options{Address: address, Namespace: "n"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, server
}

// listen serves the daemon at an address until the test ends.
func (h *hostile) listen(t *testing.T, address string) *grpc.Server {
	t.Helper()
	l, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	versionapi.RegisterVersionServer(server, h)
	tasksapi.RegisterTasksServer(server, h)
	eventsapi.RegisterEventsServer(server, hostileEvents{h: h})
	containersapi.RegisterContainersServer(server, hostileContainers{h: h})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return server
}

// TestHostileProcess checks that every answer of a daemon becomes a possible Task: with a
// possible pid, and a code from 0 to 255 or an unknown one.
func TestHostileProcess(t *testing.T) {
	times := []*timestamppb.Timestamp{nil, {}, {Seconds: -1e15}, {Seconds: math.MaxInt64}, {Nanos: -1},
		{Seconds: -62135596800}, {Seconds: -1000}}
	for _, pid := range []uint32{0, 1, 1 << 22, 1<<22 + 1, math.MaxInt32 + 1, math.MaxUint32} {
		for i, status := range []uint32{0, 255, 256, 70000, math.MaxInt32 + 1, math.MaxUint32} {
			for _, state := range []tasktypes.Status{tasktypes.Status_STOPPED, tasktypes.Status_RUNNING, -1, 99} {
				p := &tasktypes.Process{Pid: pid, ExitStatus: status, ExitedAt: times[i%len(times)], Status: state}
				task := task("c", p)
				if task.Pid < 0 || task.Pid > 1<<22 || (pid <= 1<<22 && task.Pid != int(pid)) {
					t.Errorf("pid %d became %d", pid, task.Pid)
				}
				good(t, task.Exit)
				if state == tasktypes.Status_STOPPED && (status > 255) != (task.Exit.Unknown != "") {
					t.Errorf("status %d became %+v", status, task.Exit)
				}
			}
		}
	}
	for _, at := range times {
		good(t, exitOf(3, at))
	}
}

// good fails unless an exit is possible.
func good(t *testing.T, e libcontainerd.Exit) {
	t.Helper()
	if e.Code < 0 || e.Code > 255 || (e.Unknown != "" && e.Code != 0) {
		t.Errorf("code of %+v", e)
	}
	if !e.Time.IsZero() && (e.Time.Before(time.Unix(0, 0)) || e.Time.Year() > 9999) {
		t.Errorf("time of %+v", e)
	}
}

func TestHostileAnswers(t *testing.T) {
	h := &hostile{
		trailer: metadata.Pairs(trailerUnknown, "", trailerUnknown, "second", trailerOOM, "perhaps", trailerOOM,
			"true"),
		wait:    &tasksapi.WaitResponse{ExitStatus: 1 << 31, ExitedAt: &timestamppb.Timestamp{Seconds: -1}},
		start:   &tasksapi.StartResponse{Pid: math.MaxUint32},
		metrics: []*types.Metric{{}, {ID: "other", Data: &anypb.Any{TypeUrl: "x"}}, {ID: "c"}},
	}
	for i := range 10_000 {
		h.list = append(h.list, &tasktypes.Process{ContainerID: fmt.Sprint("t", i%9000), Pid: uint32(i),
			Status: tasktypes.Status(i)})
	}
	d, _ := h.serve(t)
	if _, _, err := d.Version(t.Context()); err != nil {
		t.Error(err)
	}
	task, err := d.Process(t.Context(), "c", libcontainerd.InitProcess) // without a process in the answer
	if err != nil || task != (libcontainerd.Task{ID: "c"}) {
		t.Errorf("%+v, %v", task, err)
	}
	if all, err := d.Tasks(t.Context()); err != nil || len(all) != len(h.list) {
		t.Errorf("%d tasks, %v", len(all), err)
	}
	exit, err := d.Wait(t.Context(), "c", libcontainerd.InitProcess)
	if good(t, exit); err != nil || exit.Unknown == "" || exit.OOMKilled {
		t.Errorf("%+v, %v", exit, err)
	}
	if pid, err := d.Start(t.Context(), "c", libcontainerd.InitProcess); err != nil || pid != 0 {
		t.Errorf("pid %d, %v", pid, err)
	}
	if s, err := d.Stats(t.Context(), "c"); err == nil {
		t.Errorf("statistics out of nothing: %+v", s)
	}
	if err := d.Pause(t.Context(), "c"); !errdefs.IsNotImplemented(err) {
		t.Error(err)
	}
}

// TestPauseRefused has a freeze fail twice while the task runs on, and once for a task that
// has ended.
func TestPauseRefused(t *testing.T) {
	h := &hostile{refusals: 2, process: &tasktypes.Process{ContainerID: "c", Status: tasktypes.Status_RUNNING}}
	d, _ := h.serve(t)
	if err := d.Pause(t.Context(), "c"); err != nil || h.pauses != 3 {
		t.Errorf("%v after %d calls", err, h.pauses)
	}
	h = &hostile{refusals: 2, process: &tasktypes.Process{ContainerID: "c", Status: tasktypes.Status_STOPPED}}
	d, _ = h.serve(t)
	if err := d.Pause(t.Context(), "c"); !errdefs.IsFailedPrecondition(err) || h.pauses != 1 {
		t.Errorf("%v after %d calls", err, h.pauses)
	}
}

// TestHostileStreams cuts streams, and sends messages that are no events.
func TestHostileStreams(t *testing.T) {
	exitEvent := &types.Envelope{Event: &anypb.Any{TypeUrl: "containerd.events.TaskExit", Value: []byte{0x0a, 1, 'c'}}}
	for name, cut := range map[string]error{"end": nil, "error": status.Error(codes.DataLoss, "no"),
		"no code": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			h := &hostile{cut: cut, containers: []*containersapi.Container{nil, {}, {ID: "c"}},
				events: []*types.Envelope{
					{}, {Event: &anypb.Any{}}, {Event: &anypb.Any{TypeUrl: "\x00"}},
					{Event: &anypb.Any{TypeUrl: "containerd.events.TaskExit", Value: []byte("\xff\xff")}}, exitEvent,
				}}
			d, _ := h.serve(t)
			s, err := d.Subscribe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if e, err := s.Next(t.Context()); err != nil || e.Type != libcontainerd.DaemonExit || e.ContainerID != "c" {
				t.Errorf("%+v, %v", e, err)
			}
			for range 2 {
				if e, err := s.Next(t.Context()); err == nil {
					t.Errorf("%+v after the end", e)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			var ids []string
			err = d.Containers(t.Context(), func(id string) error { ids = append(ids, id); return nil })
			if len(ids) != 3 || (err == nil) != (cut == nil) {
				t.Errorf("%q, %v", ids, err)
			}
		})
	}
}

// TestHostileHang has the daemon never answer. Each call ends with its context, with the
// connection, and with the server.
func TestHostileHang(t *testing.T) {
	h := &hostile{hang: true}
	d, server := h.serve(t)
	calls := map[string]func(ctx context.Context) error{
		"Process": func(ctx context.Context) error { _, err := d.Process(ctx, "c", "init"); return err },
		"Tasks":   func(ctx context.Context) error { _, err := d.Tasks(ctx); return err },
		"Wait":    func(ctx context.Context) error { _, err := d.Wait(ctx, "c", "init"); return err },
		"Start":   func(ctx context.Context) error { _, err := d.Start(ctx, "c", "init"); return err },
		"Stats":   func(ctx context.Context) error { _, err := d.Stats(ctx, "c"); return err },
		"Containers": func(ctx context.Context) error {
			return d.Containers(ctx, func(string) error { return nil })
		},
		"Next": func(ctx context.Context) error {
			s, err := d.Subscribe(context.Background())
			if err != nil {
				return err
			}
			_, err = s.Next(ctx)
			return errors.Join(err, s.Close())
		},
	}
	for name, call := range calls {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- call(ctx) }()
		cancel()
		if err := <-ended; !errdefs.IsCanceled(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ended := make(chan error, len(calls))
	for _, call := range calls {
		go func() { ended <- call(context.Background()) }()
	}
	server.Stop()
	for range calls {
		if err := <-ended; !errdefs.IsUnavailable(err) {
			t.Errorf("the server went: %v", err)
		}
	}
}
