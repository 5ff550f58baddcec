package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Run starts the container like Start, waits for the exit of its init process, and returns the exit after the
// backend has taken it.
//
// When ctx ends, Run kills all processes of the container, and returns the exit together with the cause of ctx when
// nothing is left of the task. If that takes longer than WithCallTimeout, the exit has a zero Time, and the
// container may still run.
func (ctr *Container) Run(ctx context.Context, opts StartOptions) (Exit, error) {
	p, err := ctr.start(ctx, opts)
	if err != nil {
		return Exit{}, err
	}
	return ctr.finish(ctx, p)
}

// RunExec starts an exec like Exec, waits for its exit, and returns the exit after the backend has taken it. When
// ctx ends, RunExec kills the exec, and returns like Run. After RunExec has returned, the exec's id is free, and
// Wait doesn't know it.
func (ctr *Container) RunExec(ctx context.Context, execID string, spec *specs.Process, cfg StdioConfig) (Exit, error) {
	p, err := ctr.exec(ctx, execID, spec, cfg)
	if err != nil {
		return Exit{}, err
	}
	defer ctr.forgetRunExec(p, func() { p.returned = true })
	return ctr.finish(ctx, p)
}

// forgetRunExec is called twice for an exec of RunExec: when RunExec returns, and when nothing is left of the exec.
// done notes which of the two it is. The second call removes the exec from the record.
func (ctr *Container) forgetRunExec(p *process, done func()) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	done()
	if p.returned && p.isSettled() && ctr.rec.execs[p.id] == p {
		delete(ctr.rec.execs, p.id)
		ctr.rec.ended = slices.DeleteFunc(ctr.rec.ended, func(id string) bool { return id == p.id })
	}
}

// RunContainer creates a container, runs it, and deletes it: see Create, Container.Run and Container.Delete. If the
// delete fails, the exit is valid all the same, and the client still has the container.
func (c *Client) RunContainer(ctx context.Context, id string, spec *specs.Spec, create CreateOptions,
	start StartOptions) (Exit, error) {
	ctr, err := c.Create(ctx, id, spec, create)
	if err != nil {
		return Exit{}, err
	}
	exit, err := ctr.Run(ctx, start)
	last, cancel := c.bounded()
	defer cancel()
	return exit, errors.Join(err, ctr.Delete(last, DeleteOptions{Force: true}))
}

// finish waits for p's exit. When ctx ends, finish kills p.
func (ctr *Container) finish(ctx context.Context, p *process) (Exit, error) {
	if awaitClosed(ctx, ctr.client.final, p.taken) == nil {
		return p.result()
	}
	if ctr.client.final.Err() != nil {
		return Exit{}, errShutdown("run container", ctr.id)
	}
	cause := fmt.Errorf("process %q of container %q was killed: %w", p.id, ctr.id, context.Cause(ctx))
	last, cancel := ctr.client.bounded()
	defer cancel()
	for delay := newBackoff(ctr.client.options); ; {
		err := ctr.killAndWait(last, p)
		if err == nil {
			break
		}
		if !errdefs.IsUnavailable(err) || delay.Wait(last) != nil {
			return Exit{}, errors.Join(cause, ctr.failed("end", err))
		}
	}
	exit, failure := p.result()
	return exit, errors.Join(cause, failure, p.awaitSettled(last))
}
