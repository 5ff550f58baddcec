package ociruntime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/fifo"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// Runtime is one OCI runtime with the options that it gets for a container. The runtime's messages go to a log file,
// since its stdout and stderr are the container's.
type Runtime struct {
	Path string `json:"path"`
	// Root is a directory of this container alone. gVisor takes an id that it does not know for the beginning of one
	// that it knows: in a shared directory it would delete that other container.
	Root          string `json:"root"`
	SystemdCgroup bool   `json:"systemdCgroup,omitempty"`
	NoPivotRoot   bool   `json:"noPivotRoot,omitempty"`
	NoNewKeyring  bool   `json:"noNewKeyring,omitempty"`
	// Args are further global arguments.
	Args []string `json:"args,omitempty"`
}

// run calls fn with a client that logs to a file in dir. An error has the runtime's last message from that log.
func (r Runtime) run(ctx context.Context, action, dir string, fn func(*runc.Runc) error) (err error) {
	_, s := span.Start(ctx, "OCI runtime "+action)
	defer func() { s.End(err) }()
	log := filepath.Join(dir, "log."+action)
	err = fn(&runc.Runc{Command: r.Path, Root: r.Root, Log: log, LogFormat: runc.JSON, SystemdCgroup: r.SystemdCgroup,
		ExtraArgs: r.Args})
	if err != nil {
		err = r.failure(action, log, err)
	}
	if rm := os.Remove(log); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

// begin is run for a command that makes a process. The command is repeated only if the runtime's program could not be
// run at all.
func (r Runtime) begin(ctx context.Context, action, dir string, fn func(*runc.Runc) error) error {
	var cause error
	return repeat(ctx, func(error) bool { return neverBegan(cause) }, func() error {
		return r.run(ctx, action, dir, func(c *runc.Runc) error {
			cause = fn(c)
			return cause
		})
	})
}

// failure returns the error of a failed call, with the runtime's last message. Its class is Unknown, since only the
// message could say more.
func (r Runtime) failure(action, log string, err error) error {
	if message := lastMessage(log); message != "" {
		return fmt.Errorf("OCI runtime %s failed: %s: %w", action, brief(message), errdefs.ErrUnknown)
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("cannot run OCI runtime %s: %v: %w", r.Path, err, errdefs.ErrFailedPrecondition)
	}
	return fmt.Errorf("OCI runtime %s failed: %s: %w", action, brief(err.Error()), errdefs.ErrUnknown)
}

// lastMessage finds the last error in a runtime's JSON log; empty if there is none.
func lastMessage(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	_, _ = f.Seek(-logTail, io.SeekEnd) // fails for a shorter one, which is read from its beginning
	return parseLog(io.LimitReader(f, logTail))
}

// logTail is how much of a log's end is looked at, in bytes.
const logTail = 1 << 20

// parseLog reads log lines as runc and crun write them, one JSON object with "level" and "msg" to a line, and returns
// the last message of level error or worse.
func parseLog(r io.Reader) string {
	var last string
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4<<10), 256<<10)
	for lines.Scan() {
		var line struct{ Level, Msg string }
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg == "" {
			continue
		}
		switch line.Level {
		case "error", "fatal", "panic":
			last = line.Msg
		}
	}
	return last
}

// Launch are what create and exec have in common.
type Launch struct {
	Dir     string // the process's directory
	Stdio   runc.IO
	Console runc.ConsoleSocket // nil without a terminal
}

func (r Runtime) Create(ctx context.Context, id, bundle string, a Launch) error {
	return r.begin(ctx, "create", a.Dir, func(c *runc.Runc) error {
		return c.Create(ctx, id, bundle, &runc.CreateOpts{
			IO: a.Stdio, PidFile: filepath.Join(a.Dir, "pid"), ConsoleSocket: a.Console,
			NoPivot: r.NoPivotRoot, NoNewKeyring: r.NoNewKeyring,
		})
	})
}

func (r Runtime) Exec(ctx context.Context, id string, spec specs.Process, a Launch) error {
	opts := &runc.ExecOpts{IO: a.Stdio, PidFile: filepath.Join(a.Dir, "pid"), ConsoleSocket: a.Console, Detach: true}
	if r.HasOwnKernel(id) {
		opts.ExtraArgs = []string{"--internal-pid-file", filepath.Join(a.Dir, SandboxPidFile)}
	}
	return r.begin(ctx, "exec", a.Dir, func(c *runc.Runc) error { return c.Exec(ctx, id, spec, opts) })
}

// Checkpoint writes a container's processes to opts.ImagePath; those that are not left running are killed.
func (r Runtime) Checkpoint(ctx context.Context, id, dir string, opts runc.CheckpointOpts, leaveRunning bool) error {
	var actions []runc.CheckpointAction
	if leaveRunning {
		actions = append(actions, runc.LeaveRunning)
	}
	return r.run(ctx, "checkpoint", dir, func(c *runc.Runc) error { return c.Checkpoint(ctx, id, &opts, actions...) })
}

// Restore makes a container whose processes go on where they were.
func (r Runtime) Restore(ctx context.Context, id, bundle string, opts runc.CheckpointOpts, a Launch) error {
	return r.run(ctx, "restore", a.Dir, func(c *runc.Runc) error {
		_, err := c.Restore(ctx, id, bundle, &runc.RestoreOpts{
			CheckpointOpts: opts, IO: a.Stdio, PidFile: filepath.Join(a.Dir,
				"pid"), ConsoleSocket: a.Console, NoPivot: r.NoPivotRoot, Detach: true,
		})
		return err
	})
}

func (r Runtime) Start(ctx context.Context, id, dir string) error {
	return r.run(ctx, "start", dir, func(c *runc.Runc) error { return c.Start(ctx, id) })
}

// Delete removes the runtime's state of a container and kills the container if it still runs. It is no error if the
// runtime has no such state.
func (r Runtime) Delete(ctx context.Context, id, dir string) error {
	err := repeat(ctx, func(error) bool { return r.isThere() && r.knows(id) }, func() error {
		return r.run(ctx, "delete", dir,
			func(c *runc.Runc) error { return c.Delete(ctx, id, &runc.DeleteOpts{Force: true}) })
	})
	if err != nil && !r.knows(id) {
		return nil // a runtime that is broken or gone must not keep for ever what it never made
	}
	return err
}

// knows tells whether there is state of a container in the runtime's root: runc and crun keep it in ROOT/ID, gVisor
// in ROOT/ID_sandbox:*.
func (r Runtime) knows(id string) bool {
	return r.HasOwnKernel(id) || statefile.Exists(filepath.Join(r.Root, id))
}

func (r Runtime) killAll(ctx context.Context, id, dir string, signal int) error {
	return r.run(ctx, "kill", dir,
		func(c *runc.Runc) error { return c.Kill(ctx, id, signal, &runc.KillOpts{All: true}) })
}

func (r Runtime) pause(ctx context.Context, id, dir string) error {
	return r.run(ctx, "pause", dir, func(c *runc.Runc) error { return c.Pause(ctx, id) })
}

func (r Runtime) Resume(ctx context.Context, id, dir string) error {
	return r.run(ctx, "resume", dir, func(c *runc.Runc) error { return c.Resume(ctx, id) })
}

func (r Runtime) update(ctx context.Context, id, dir string, resources *specs.LinuxResources) error {
	return r.run(ctx, "update", dir, func(c *runc.Runc) error { return c.Update(ctx, id, resources) })
}

// Stdio gives descriptors to a runtime as its standard streams, which it hands on to the container. It closes nothing.
type Stdio struct{ fifo.ContainerFiles }

func (s Stdio) Stdin() io.WriteCloser { return nil }
func (s Stdio) Stdout() io.ReadCloser { return nil }
func (s Stdio) Stderr() io.ReadCloser { return nil }
func (s Stdio) Set(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.ContainerFiles.Stdin, s.ContainerFiles.Stdout, s.ContainerFiles.Stderr
}

// cgroup.Plan lists the control groups that the runtime is about to make for a container. None are listed where
// systemd makes them, which removes its own once they are empty.
func (r Runtime) PlanGroups(spec *specs.Spec, id string) (cgroup.Planned, error) {
	if r.SystemdCgroup {
		return cgroup.Planned{}, nil
	}
	var path string
	if spec.Linux != nil {
		path = spec.Linux.CgroupsPath
	}
	return cgroup.Plan(path, id, filepath.Base(r.Path) == "crun")
}

// State is a container's status in the runtime's words; empty where the runtime fails.
func (r Runtime) State(ctx context.Context, id, dir string) string {
	var state *runc.Container
	err := r.run(ctx, "state", dir, func(c *runc.Runc) (err error) {
		state, err = c.State(ctx, id)
		return err
	})
	if err != nil {
		return ""
	}
	return state.Status
}
