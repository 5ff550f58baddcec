package runtimed

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/keeper"
)

// stdinClosedFile marks a process whose stdin was closed.
const stdinClosedFile = "stdin-closed"

// tasksAPI is containerd's tasks service. What it does to a task beyond the life of its processes is in api_tasks_resources.go.
type tasksAPI struct {
	tasks.UnimplementedTasksServer
	d    *Daemon
	life context.Context // the daemon's
}

// Create creates a task: its init process exists then, and waits to be started.
func (a *tasksAPI) Create(ctx context.Context, r *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	c, err := a.d.find(ns, r.ContainerID)
	if err != nil {
		return nil, err
	}
	p, err := a.d.createTask(ctx, c, r)
	if err != nil {
		return nil, err
	}
	if err := warn(ctx, p.task.record.Warnings); err != nil {
		return nil, err
	}
	return &tasks.CreateTaskResponse{ContainerID: c.id, Pid: p.livePid()}, nil
}

// process finds the process that a request names.
func (a *tasksAPI) process(ctx context.Context, id, exec string) (*process, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	return a.d.findProcess(ns, id, exec)
}

// Start starts a created init process, or an exec that was added.
func (a *tasksAPI) Start(ctx context.Context, r *tasks.StartRequest) (*tasks.StartResponse, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	start := a.d.startTask
	if p.exec != "" {
		start = a.d.startExec
	}
	if err := start(ctx, p); err != nil {
		return nil, err
	}
	return &tasks.StartResponse{Pid: p.livePid()}, nil
}

// Exec adds a process to a running task. Start runs it.
func (a *tasksAPI) Exec(ctx context.Context, r *tasks.ExecProcessRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, a.d.addExec(ctx, p.task, r)
}

// Delete frees a task that has ended, or was never started.
func (a *tasksAPI) Delete(ctx context.Context, r *tasks.DeleteTaskRequest) (*tasks.DeleteResponse, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	exit, err := a.d.deleteTask(ctx, p.task)
	return deleted(ctx, p, exit, err)
}

// DeleteProcess frees an exec that has ended, or was never started.
func (a *tasksAPI) DeleteProcess(ctx context.Context, r *tasks.DeleteProcessRequest) (*tasks.DeleteResponse, error) {
	if r.ExecID == "" {
		return nil, fmt.Errorf("a process needs an id: %w", errdefs.ErrInvalidArgument)
	}
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	exit, err := a.d.deleteExec(ctx, p)
	return deleted(ctx, p, exit, err)
}

func deleted(ctx context.Context, p *process, exit exitRecord, err error) (*tasks.DeleteResponse, error) {
	if err != nil {
		return nil, err
	}
	if err := exit.tell(ctx); err != nil {
		return nil, err
	}
	return &tasks.DeleteResponse{ID: p.id(), Pid: p.livePid(), ExitStatus: exit.status(), ExitedAt: timestamppb.New(exit.Time)}, nil
}

// Get tells the state of one process; of one that has ended also by the trailers.
func (a *tasksAPI) Get(ctx context.Context, r *tasks.GetRequest) (*tasks.GetResponse, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	w := p.wire()
	if w.Status == task.Status_STOPPED {
		if err := p.ended().tell(ctx); err != nil {
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
	for _, c := range a.d.list(ns) {
		if t := c.get(); t != nil {
			list = append(list, t.init.wire())
		}
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
	ctx, stop := bounded(ctx, a.life)
	defer stop()
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	exit := p.ended()
	if err := exit.tell(ctx); err != nil {
		return nil, err
	}
	return &tasks.WaitResponse{ExitStatus: exit.status(), ExitedAt: timestamppb.New(exit.Time)}, nil
}

// lastSignal is the highest signal number (signal(7)).
const lastSignal = 64

// Kill sends a signal to a process, or to all of the container's; 0 only asks whether it is there. NotFound for a process that has ended. It doesn't wait for other
// operations.
func (a *tasksAPI) Kill(ctx context.Context, r *tasks.KillRequest) (*emptypb.Empty, error) {
	if r.Signal > lastSignal {
		return nil, fmt.Errorf("no such signal: %d: %w", r.Signal, errdefs.ErrInvalidArgument)
	}
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if r.All && r.ExecID == "" {
		return &emptypb.Empty{}, p.signalAll(ctx, r.Signal)
	}
	return &emptypb.Empty{}, p.signal(ctx, r.Signal)
}

// signalAll sends a signal to all processes of a container. Those of one that has its own pid namespace end with its init process
// (pid_namespaces(7)), so that killing them takes no OCI runtime.
func (p *process) signalAll(ctx context.Context, signal uint32) error {
	pid, start, ok := p.identity()
	if !ok {
		return p.noProcess()
	}
	if signal == killSignal && !p.task.record.HostPid && start != 0 {
		return p.task.kill(pid, start)
	}
	err := p.task.signalMembers(ctx, int(signal))
	if err != nil && !alive(pid, start) {
		return p.gone()
	}
	return err
}

func (p *process) gone() error { return fmt.Errorf("%s has ended: %w", p, errdefs.ErrNotFound) }

// noProcess is the error of a request that needs a living process.
func (p *process) noProcess() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == stopped || p.pid != 0 {
		return p.gone()
	}
	return p.refusedLocked("signal")
}

// ResizePty sets the size of a process's terminal.
func (a *tasksAPI) ResizePty(ctx context.Context, r *tasks.ResizePtyRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	term := p.terminal()
	if term == nil {
		return nil, fmt.Errorf("%s has no terminal, or it is closed: %w", p, errdefs.ErrFailedPrecondition)
	}
	return &emptypb.Empty{}, term.resize(r.Width, r.Height)
}

// CloseIO closes stdin: the process reads an end of file once all other writers are gone. A terminal's stdin is no longer read.
func (a *tasksAPI) CloseIO(ctx context.Context, r *tasks.CloseIORequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if !r.Stdin || p.record.Stdin == "" {
		return &emptypb.Empty{}, nil
	}
	if err := writeFile(p.file(stdinClosedFile), nil); err != nil {
		return nil, classed(err)
	}
	if term := p.terminal(); term != nil {
		return &emptypb.Empty{}, term.closeInput()
	}
	err = a.d.keeper.do(func(ctx context.Context, k *keeper.Client) error { return k.Release(ctx, p.key, keeper.Stdin) })
	return &emptypb.Empty{}, err
}

// Pause freezes all processes of a running task.
func (a *tasksAPI) Pause(ctx context.Context, r *tasks.PauseTaskRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, a.setPaused(ctx, p.task, true)
}

// Resume thaws a paused task.
func (a *tasksAPI) Resume(ctx context.Context, r *tasks.ResumeTaskRequest) (*emptypb.Empty, error) {
	p, err := a.process(ctx, r.ContainerID, "")
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, a.setPaused(ctx, p.task, false)
}

func (a *tasksAPI) setPaused(ctx context.Context, t *containerTask, pause bool) error {
	action, topic := "resume", runtime.TaskResumedEventTopic
	run := func(ctx context.Context) error { return t.record.Runtime.resume(ctx, t.c.id, t.init.dir) }
	event := any(&events.TaskResumed{ContainerID: t.c.id})
	if pause {
		action, run, topic = "pause", t.pauseTask, runtime.TaskPausedEventTopic
		event = &events.TaskPaused{ContainerID: t.c.id}
	}
	return a.d.change(ctx, t.c, func(ctx context.Context) error {
		if err := t.requireRunning(action); err != nil {
			return err
		}
		if t.isPaused() == pause {
			return fmt.Errorf("cannot %s container %q, which is so already: %w", action, t.c.id, errdefs.ErrFailedPrecondition)
		}
		if err := run(ctx); err != nil {
			return t.classify(err)
		}
		t.setPaused(pause)
		a.d.publish(t.c.ns, topic, event)
		return nil
	})
}
