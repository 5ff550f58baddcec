package main

import (
	"context"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/internal/parentgroup"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/remote"
)

// groupDaemon is containerd, after whose last container the parent of all control groups is removed. runtimed does that
// itself.
type groupDaemon struct {
	*remote.Daemon
	parent *parentgroup.Keeper
}

// withParentGroup returns the runtime daemon that the engine calls, and what has to be closed after the engine; nil for
// runtimed.
func (c *config) withParentGroup(d *remote.Daemon) (libcontainerd.Daemon, *parentgroup.Keeper, error) {
	if !c.onContainerd() {
		return d, nil, nil
	}
	parent, err := parentgroup.New(spec.ParentGroup)
	if err != nil {
		return nil, nil, err
	}
	return groupDaemon{d, parent}, parent, nil
}

// CreateTask is containerd's, while nobody removes the parent.
func (d groupDaemon) CreateTask(ctx context.Context, id string, c libcontainerd.TaskConfig) (int, error) {
	done, err := d.parent.Creating(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	return d.Daemon.CreateTask(ctx, id, c)
}

// Delete is containerd's. The parent is looked at after that of a task.
func (d groupDaemon) Delete(ctx context.Context, id, process string) (libcontainerd.Exit, error) {
	exit, err := d.Daemon.Delete(ctx, id, process)
	if process == libcontainerd.InitProcess {
		d.parent.Deleted()
	}
	return exit, err
}
