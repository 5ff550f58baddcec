package ociruntime

import (
	"context"
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
)

// Container is a running container as its OCI runtime is asked to change it.
type Container struct {
	ID     string
	Dir    string // for the runtime's log
	Groups cgroup.Groups
	Over   func() bool // tells whether the init process has ended
}

// Pause freezes a container. After an error it is thawed, unless somebody else had frozen it.
func (r Runtime) Pause(ctx context.Context, c Container) error {
	g := &c.Groups
	before := g.AwaitThawed(ctx) // an OCI runtime freezes for a moment to signal all processes
	once := before != cgroup.Thawed || r.HasOwnKernel(c.ID)
	return repeat(ctx, func(error) bool { return !once && r.isThere() && !c.Over() }, func() error {
		err := r.pause(ctx, c.ID, c.Dir)
		switch {
		case once:
			return err
		case err == nil:
			err = g.AwaitFrozen(ctx)
		case r.isPlain() && !c.Over() && g.Freeze(ctx) == nil:
			return nil // runc gives up after some 200 ms, too soon for processes that wait for their CPU quota
		}
		if err != nil {
			err = errors.Join(err, g.Thaw())
		}
		return err
	})
}

// Update changes a container's limits. At each update, runc 1.1.5 sets the rates of devices to those of the create, and
// passes over the ones that it was given. So the rates are written here, after the runtime.
func (r Runtime) Update(ctx context.Context, c Container, resources *specs.LinuxResources) error {
	passing := func(error) bool {
		if resources.Memory == nil || resources.Memory.Limit == nil || c.Over() || !r.isThere() {
			return false
		}
		used, known := c.Groups.MemoryUsage()
		return known && used <= *resources.Memory.Limit
	}
	rates, err := c.Groups.Rates()
	if err != nil {
		return err
	}
	err = repeat(ctx, passing, func() error { return r.update(ctx, c.ID, c.Dir, resources) })
	switch {
	case c.Over():
		return err
	case err != nil:
		return errors.Join(err, c.Groups.SetRates(rates, nil))
	}
	return c.Groups.SetRates(rates, resources.BlockIO)
}

// SignalAll sends a signal to all processes of a container.
func (r Runtime) SignalAll(ctx context.Context, c Container, signal int) error {
	passing := func(error) bool {
		if signal != int(unix.SIGKILL) || !r.isThere() {
			return false
		}
		members, err := c.Groups.Pids()
		return err == nil && len(members) > 0
	}
	return repeat(ctx, passing, func() error { return r.killAll(ctx, c.ID, c.Dir, signal) })
}
