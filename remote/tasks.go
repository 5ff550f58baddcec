package remote

import (
	"context"
	"fmt"
	"syscall"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// CreateTask makes a container's init process, which waits for Start. Errors of the
// options are InvalidArgument, or NotImplemented for a checkpoint with a runtime other
// than runc's type.
func (d *Daemon) CreateTask(ctx context.Context, id string, c libcontainerd.TaskConfig) (pid int, err error) {
	opts, err := taskOptions(c)
	if err != nil {
		return 0, err
	}
	var w warnings
	r, err := d.tasks.Create(ctx, &tasksapi.CreateTaskRequest{
		ContainerID: id, Rootfs: mounts(c.Rootfs), Terminal: c.Terminal, Options: opts,
		Stdin: c.Stdio.Stdin, Stdout: c.Stdio.Stdout, Stderr: c.Stdio.Stderr,
	}, w.option())
	w.pass(c.Warn)
	return pidOf(r.GetPid()), err
}

func mounts(all []libcontainerd.Mount) []*types.Mount {
	var wire []*types.Mount
	for _, m := range all {
		wire = append(wire, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return wire
}

// AddExec adds a process to a task. It runs after Start.
func (d *Daemon) AddExec(ctx context.Context, id, execID string, c libcontainerd.ExecConfig) error {
	spec, err := asAny(processURL, c.Process)
	if err != nil {
		return err
	}
	var w warnings
	_, err = d.tasks.Exec(ctx, &tasksapi.ExecProcessRequest{
		ContainerID: id, ExecID: execID, Spec: spec, Terminal: c.Terminal,
		Stdin: c.Stdio.Stdin, Stdout: c.Stdio.Stdout, Stderr: c.Stdio.Stderr,
	}, w.option())
	w.pass(c.Warn)
	return err
}

// wireID returns the exec id of a process in the API: empty for the init process.
func wireID(process string) string {
	if process == libcontainerd.InitProcess {
		return ""
	}
	return process
}

// Start runs a process.
func (d *Daemon) Start(ctx context.Context, id, process string) (pid int, err error) {
	if process != libcontainerd.InitProcess {
		leave, err := d.pauses.enter(ctx, id, 1)
		if err != nil {
			return 0, err
		}
		defer leave()
	}
	r, err := d.tasks.Start(ctx, &tasksapi.StartRequest{ContainerID: id, ExecID: wireID(process)})
	return pidOf(r.GetPid()), err
}

// Kill sends a signal, and doesn't wait for the exit.
func (d *Daemon) Kill(ctx context.Context, id, process string, sig syscall.Signal, all bool) error {
	_, err := d.tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: id, ExecID: wireID(process), Signal: uint32(sig),
		All: all})
	return err
}

// Resize sets the size of a process's terminal, in characters.
func (d *Daemon) Resize(ctx context.Context, id, process string, width, height uint32) error {
	_, err := d.tasks.ResizePty(ctx, &tasksapi.ResizePtyRequest{ContainerID: id, ExecID: wireID(process), Width: width,
		Height: height})
	return err
}

// CloseIO has the daemon close its end of a process's stdin.
func (d *Daemon) CloseIO(ctx context.Context, id, process string) error {
	_, err := d.tasks.CloseIO(ctx, &tasksapi.CloseIORequest{ContainerID: id, ExecID: wireID(process), Stdin: true})
	return err
}

const (
	// pauseLimit bounds how long Pause asks again.
	pauseLimit = 3 * time.Second
	// execLimit bounds how long Pause waits for starts of execs, which take seconds on a machine that is too busy.
	execLimit = 30 * time.Second
)

// Pause freezes a task. A freeze of control groups of version 1 fails now and then while
// processes fork (freezer-subsystem.rst of the kernel's documentation: thaw, and try
// again), and containerd's shims pass that on. So a task that still runs after an error of
// its OCI runtime is asked for again, for up to 3 s.
func (d *Daemon) Pause(ctx context.Context, id string) error {
	starts, cancel := context.WithTimeout(ctx, execLimit)
	defer cancel()
	leave, err := d.pauses.enter(starts, id, everyStart)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil: // its caller may hold the container
		return fmt.Errorf("an exec has been starting for %v: %w", execLimit, errdefs.ErrUnavailable)
	}
	defer leave()
	limit, cancel := context.WithTimeout(ctx, pauseLimit)
	defer cancel()
	for delay := retry.New(20*time.Millisecond, 320*time.Millisecond); ; {
		_, err := d.tasks.Pause(ctx, &tasksapi.PauseTaskRequest{ContainerID: id})
		err = d.classed(ctx, id, libcontainerd.InitProcess, err, libcontainerd.TaskRunning)
		if !errdefs.IsUnknown(err) && !errdefs.IsInternal(err) || errdefs.IsFailedPrecondition(err) {
			return err // FailedPrecondition where the task doesn't run any more
		}
		if delay.Wait(limit) != nil {
			return err
		}
	}
}

// Resume thaws a task.
func (d *Daemon) Resume(ctx context.Context, id string) error {
	_, err := d.tasks.Resume(ctx, &tasksapi.ResumeTaskRequest{ContainerID: id})
	return d.classed(ctx, id, libcontainerd.InitProcess, err, libcontainerd.TaskPaused)
}

// Pids returns the pids of all processes of a task, as the daemon reports them.
func (d *Daemon) Pids(ctx context.Context, id string) ([]int, error) {
	r, err := d.tasks.ListPids(ctx, &tasksapi.ListPidsRequest{ContainerID: id})
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range r.Processes {
		pids = append(pids, int(p.Pid))
	}
	return pids, nil
}

// Update changes a task's limits.
func (d *Daemon) Update(ctx context.Context, id string, r *specs.LinuxResources) error {
	resources, err := asAny(resourcesURL, r)
	if err != nil {
		return err
	}
	_, err = d.tasks.Update(ctx, &tasksapi.UpdateTaskRequest{ContainerID: id, Resources: resources})
	return err
}

// Checkpoint has the daemon write the state of a task to a directory. The task's OCI
// runtime must take runc's options.
func (d *Daemon) Checkpoint(ctx context.Context, id string, c libcontainerd.CheckpointConfig) error {
	opts, err := encode(&options.CheckpointOptions{
		ImagePath: c.Dir, Exit: c.Exit, OpenTcp: c.OpenTCP,
		ExternalUnixSockets: c.ExternalUnixSockets, Terminal: c.Terminal, FileLocks: c.FileLocks,
	})
	if err != nil {
		return err
	}
	_, err = d.tasks.Checkpoint(ctx, &tasksapi.CheckpointTaskRequest{ContainerID: id, Options: opts})
	return err
}

// Tasks lists the init processes.
func (d *Daemon) Tasks(ctx context.Context) ([]libcontainerd.Task, error) {
	r, err := d.tasks.List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil {
		return nil, err
	}
	all := make([]libcontainerd.Task, 0, len(r.Tasks))
	for _, p := range r.Tasks {
		// containerd puts the container's id into ID, and leaves ContainerID empty.
		id := p.ContainerID
		if id == "" {
			id = p.ID
		}
		all = append(all, task(id, p))
	}
	return all, nil
}

// Process returns the state of one process.
func (d *Daemon) Process(ctx context.Context, id, process string) (libcontainerd.Task, error) {
	var t exitTrailer
	r, err := d.tasks.Get(ctx, &tasksapi.GetRequest{ContainerID: id, ExecID: wireID(process)}, t.option())
	if err != nil {
		return libcontainerd.Task{}, err
	}
	state := task(id, r.GetProcess())
	if state.Status == libcontainerd.TaskStopped {
		d.complete(ctx, id, process, &state.Exit, t)
	}
	return state, nil
}
