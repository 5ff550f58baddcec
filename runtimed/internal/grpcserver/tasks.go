package grpcserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/runtimed/internal/core"
)

// tasksAPI is containerd's tasks service. Metrics, processes and limits are in tasks_resources.go.
type tasksAPI struct {
	tasks.UnimplementedTasksServer
	d      *core.Daemon
	daemon context.Context // ends when the daemon stops
}

// Create creates a task: its init process exists then, and waits to be started.
func (a *tasksAPI) Create(ctx context.Context, r *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	p, err := a.d.CreateTask(ctx, ns, r)
	if err != nil {
		return nil, err
	}
	if err := warn(ctx, p.Warnings()); err != nil {
		return nil, err
	}
	return &tasks.CreateTaskResponse{ContainerID: r.ContainerID, Pid: p.Pid()}, nil
}

// process finds the process that a request names.
func (a *tasksAPI) process(ctx context.Context, id, exec string) (*core.Process, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	return a.d.FindProcess(ns, id, exec)
}

// Start starts a created init process, or an exec that was added.
func (a *tasksAPI) Start(ctx context.Context, r *tasks.StartRequest) (*tasks.StartResponse, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return &tasks.StartResponse{Pid: p.Pid()}, nil
}

// Exec adds a process to a running task. Start runs it.
func (a *tasksAPI) Exec(ctx context.Context, r *tasks.ExecProcessRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	warnings, err := p.AddExec(ctx, r)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, warn(ctx, warnings)
}

// Delete frees a task that has ended, or was never started.
func (a *tasksAPI) Delete(ctx context.Context, r *tasks.DeleteTaskRequest) (*tasks.DeleteResponse, error) {
	return a.delete(ctx, r.ContainerID, "")
}

// DeleteProcess frees an exec that has ended, or was never started.
func (a *tasksAPI) DeleteProcess(ctx context.Context, r *tasks.DeleteProcessRequest) (*tasks.DeleteResponse, error) {
	if r.ExecID == "" {
		return nil, fmt.Errorf("a process needs an id: %w", errdefs.ErrInvalidArgument)
	}
	return a.delete(ctx, r.ContainerID, r.ExecID)
}

func (a *tasksAPI) delete(ctx context.Context, id, exec string) (*tasks.DeleteResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	p, exit, err := a.d.Delete(ctx, ns, id, exec)
	if err != nil {
		return nil, err
	}
	if err := sendExit(ctx, exit); err != nil {
		return nil, err
	}
	return &tasks.DeleteResponse{ID: p.ID(), Pid: p.Pid(), ExitStatus: exit.Status(),
		ExitedAt: timestamppb.New(exit.Time)}, nil
}

// Get tells the state of one process; of one that has ended also by the trailers.
func (a *tasksAPI) Get(ctx context.Context, r *tasks.GetRequest) (*tasks.GetResponse, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	w := p.Proto()
	if w.Status == task.Status_STOPPED {
		if err := sendExit(ctx, p.Exit()); err != nil {
			return nil, err
		}
	}
	return &tasks.GetResponse{Process: w}, nil
}

// List tells the state of all init processes of the namespace, ordered by id.
func (a *tasksAPI) List(ctx context.Context, _ *tasks.ListTasksRequest) (*tasks.ListTasksResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	var list []*task.Process
	for _, p := range a.d.InitProcesses(ns) {
		list = append(list, p.Proto())
	}
	slices.SortFunc(list, func(x, y *task.Process) int { return strings.Compare(x.ID, y.ID) })
	return &tasks.ListTasksResponse{Tasks: list}, nil
}

// Wait waits until a process has ended and its exit is on disk. An exit nobody knows has the status 0xFFFFFFFF.
func (a *tasksAPI) Wait(ctx context.Context, r *tasks.WaitRequest) (*tasks.WaitResponse, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	ctx, stop := untilStop(ctx, a.daemon)
	defer stop()
	if err := await.Closed(ctx, p.Done()); err != nil {
		return nil, err
	}
	exit := p.Exit()
	if err := sendExit(ctx, exit); err != nil {
		return nil, err
	}
	return &tasks.WaitResponse{ExitStatus: exit.Status(), ExitedAt: timestamppb.New(exit.Time)}, nil
}

// lastSignal is the highest signal number (signal(7)).
const lastSignal = 64

// Kill sends a signal to a process, or to all of the container's; 0 only asks whether it is there. NotFound for a
// process that has ended. It doesn't wait for other operations.
func (a *tasksAPI) Kill(ctx context.Context, r *tasks.KillRequest) (*emptypb.Empty, error) {
	if r.Signal > lastSignal {
		return nil, fmt.Errorf("no such signal: %d: %w", r.Signal, errdefs.ErrInvalidArgument)
	}
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, p.Kill(ctx, r.Signal, r.All)
}

// ResizePty sets the size of a process's terminal.
func (a *tasksAPI) ResizePty(ctx context.Context, r *tasks.ResizePtyRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, p.Resize(r.Width, r.Height)
}

// CloseIO closes stdin: the process reads an end of file once all other writers are gone. A terminal's stdin is no
// longer read.
func (a *tasksAPI) CloseIO(ctx context.Context, r *tasks.CloseIORequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if !r.Stdin {
		return &emptypb.Empty{}, nil
	}
	return &emptypb.Empty{}, p.CloseStdin()
}

// Pause freezes all processes of a running task.
func (a *tasksAPI) Pause(ctx context.Context, r *tasks.PauseTaskRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, p.SetPaused(ctx, true)
}

// Resume thaws a paused task.
func (a *tasksAPI) Resume(ctx context.Context, r *tasks.ResumeTaskRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, p.SetPaused(ctx, false)
}
