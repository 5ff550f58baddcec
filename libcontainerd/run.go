package libcontainerd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Run starts the container and returns the exit of this start, once the backend
// has taken it: it is waited for before the start, so that none is too fast.
// When ctx ends, all its processes are killed, and Run returns the exit
// together with the cause of ctx, once nothing is left of the task. It has
// WithCallTimeout for that; an exit without a Time says that it didn't do, and
// the container lives on.
func (ctr *Container) Run(ctx context.Context, opts StartOptions) (Exit, error) {
	p, err := ctr.start(ctx, opts)
	if err != nil {
		return Exit{}, err
	}
	return ctr.finish(ctx, p)
}

// RunExec is Exec and the wait for its exit, as Run is that of a start. When
// ctx ends, the exec alone is killed. The exit is nobody else's: the exec isn't
// kept for Wait.
func (ctr *Container) RunExec(ctx context.Context, execID string, spec *specs.Process, cfg StdioConfig) (Exit, error) {
	p, err := ctr.exec(ctx, execID, spec, cfg)
	if err != nil {
		return Exit{}, err
	}
	defer ctr.unkeep(p, func() { p.returned = true })
	return ctr.finish(ctx, p)
}

// unkeep forgets an exec of RunExec once that has returned and nothing is left of
// it, whichever comes last: done says that one of the two has come.
func (ctr *Container) unkeep(p *process, done func()) {
	ctr.mu.Lock()
	defer ctr.mu.Unlock()
	done()
	if p.returned && p.isSettled() && ctr.rec.execs[p.id] == p {
		delete(ctr.rec.execs, p.id)
		ctr.rec.ended = slices.DeleteFunc(ctr.rec.ended, func(id string) bool { return id == p.id })
	}
}

// RunContainer creates a container, runs it, and deletes it: see Create,
// Container.Run and Container.Delete. The exit is valid also where the deletion
// failed; the container is there then.
func (c *Client) RunContainer(ctx context.Context, id string, spec *specs.Spec, create CreateOptions, start StartOptions) (Exit, error) {
	ctr, err := c.Create(ctx, id, spec, create)
	if err != nil {
		return Exit{}, err
	}
	exit, err := ctr.Run(ctx, start)
	last, cancel := c.bounded()
	defer cancel()
	return exit, errors.Join(err, ctr.Delete(last, DeleteOptions{Force: true}))
}

// finish waits for p's exit, and brings it about when ctx ends.
func (ctr *Container) finish(ctx context.Context, p *process) (Exit, error) {
	select {
	case <-p.taken:
		return p.result()
	case <-ctr.client.hard.Done():
		return Exit{}, errShutdown("run container", ctr.id)
	case <-ctx.Done():
	}
	cause := fmt.Errorf("process %q of container %q was killed: %w", p.id, ctr.id, context.Cause(ctx))
	last, cancel := ctr.client.bounded()
	defer cancel()
	for delay := newBackoff(ctr.client.options); ; {
		err := ctr.kill9(last, p)
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
