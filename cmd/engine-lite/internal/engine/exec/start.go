package exec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/request"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/users"
	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ExecStart runs an exec. Attached, it returns when the output has ended and the exit code is known.
func (e *Execs) ExecStart(ctx context.Context, id string, opts StartOptions) error {
	x, err := e.find(id)
	if err != nil {
		return err
	}
	if err := x.claim(); err != nil {
		return err
	}
	p, err := Process(x.owner.Record(), x.request, opts.ConsoleSize)
	if err != nil {
		return x.startFailed(err)
	}
	if opts.Detach {
		return x.run(ctx, p)
	}
	keys, err := stdio.ParseDetachKeys(x.request.DetachKeys)
	if err != nil {
		return err
	}
	follow := logs.FollowOptions{Stdout: x.request.AttachStdout, Stderr: x.request.AttachStderr}
	err = x.io.Client(ctx, follow, keys, func() (stdio.ClientStreams, error) {
		// As dockerd: the answer's head goes out before the process starts, and alone. Clients that read the head through
		// a buffer would lose output that came with it.
		streams, err := opts.Open(x.io.Terminal)
		failed := x.run(ctx, p)
		if failed != nil && err == nil {
			err = streams.Fail(failed)
		}
		return streams, errors.Join(failed, err)
	})
	if errors.Is(err, stdio.ErrDetached) {
		return x.notify(ctx, "exec_detach")
	}
	if err != nil {
		return err
	}
	// A client that sees its connection end asks for the exit code next.
	return await.Closed(ctx, x.exited)
}

// claim makes sure that an exec is started once.
func (x *instance) claim() error {
	r := x.owner.Record()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.started {
		return classed.Errorf(errdefs.ErrConflict, "exec command %s has already run", x.id)
	}
	if err := checkRunning(r, r.ID); err != nil {
		return err
	}
	x.started = true
	return nil
}

// run starts the process. Its start is in the journal then: a client that was answered finds its event there.
func (x *instance) run(ctx context.Context, p *specs.Process) error {
	ctx, free := x.execs.c.Background.Outlive(ctx)
	defer free()
	err := x.start(ctx, p)
	if err == nil || errors.Is(err, libcontainerd.ErrNotTaken) { // with that error the process runs
		return err
	}
	return x.startFailed(err)
}

// startFailed ends an exec whose process did not start, and returns the error in Docker's words.
func (x *instance) startFailed(err error) error {
	code, text, class := process.StartFailure(err)
	switch {
	case strings.Contains(text, "chdir to cwd (") && strings.Contains(text, "no such file or directory"):
		code = libcontainerd.ExitCommandNotFound // Docker's code for an exec, other than for a container
	case code == process.FailedStart:
		code = failedExec
	}
	if errdefs.IsNotFound(err) && errors.Is(class, errdefs.ErrInternal) {
		class = errdefs.ErrConflict // the container went meanwhile
	}
	x.setExit(code)
	x.finish()
	return classed.Errorf(class, "%s", text)
}

func (x *instance) start(ctx context.Context, p *specs.Process) error {
	ctr, err := x.owner.Live()
	if err != nil {
		return err
	}
	pid, err := ctr.Exec(ctx, x.id, p, libcontainerd.StdioConfig{Terminal: x.request.Tty, Stdin: x.request.AttachStdin})
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.pid = pid
	x.mu.Unlock()
	return nil
}

// Process is the process of a request in a running container: the container's own process with what the request
// changes. size is that of the terminal at the start, height and width in characters; nil where nobody gave one.
func Process(r *record.Record, req record.ExecRequest, size *[2]uint) (*specs.Process, error) {
	root := fmt.Sprintf("/proc/%d/root", r.Pid)
	user, err := users.Resolve([]string{root}, cmp.Or(req.User, r.Config.User), r.HostConfig.GroupAdd)
	if err != nil {
		return nil, err
	}
	privileged := *r
	if req.Privileged && !r.HostConfig.Privileged {
		h := *r.HostConfig
		h.CapAdd, h.CapDrop = []string{"ALL"}, nil
		privileged.HostConfig = &h
	}
	s, err := spec.BuildExec(&privileged, user)
	if err != nil {
		return nil, err
	}
	p := s.Process
	p.Args = req.Cmd
	p.Terminal = req.Tty
	p.Cwd = cmp.Or(req.WorkingDir, p.Cwd)
	p.Env = slices.DeleteFunc(request.MergeEnv(req.Env, p.Env), func(v string) bool { // a name alone removes the variable
		return !strings.Contains(v, "=")
	})
	p.ConsoleSize = nil
	for _, s := range []*[2]uint{req.ConsoleSize, size} {
		if s != nil && req.Tty {
			p.ConsoleSize = &specs.Box{Height: s[0], Width: s[1]}
		}
	}
	return p, nil
}
