// Package orphans finds and deletes tasks that belong to no container. containerd completes a create whose client was
// killed, also when the container was removed meanwhile.
package orphans

import (
	"context"
	"fmt"
	"syscall"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// List returns the containers that a runtime daemon has, and the tasks of which it has no container.
func List(ctx context.Context, d libcontainerd.Daemon) (containers map[string]bool, tasks []string, err error) {
	// Before the containers: one that somebody else makes meanwhile is among those.
	all, err := d.Tasks(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list the tasks of the runtime daemon: %w", err)
	}
	containers = map[string]bool{}
	err = d.Containers(ctx, func(id string) error {
		containers[id] = true
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list what the runtime daemon has: %w", err)
	}
	for _, t := range all {
		if !containers[t.ID] {
			tasks = append(tasks, t.ID)
		}
	}
	return containers, tasks, nil
}

// Delete ends and deletes a task. One that is gone is no error.
func Delete(ctx context.Context, d libcontainerd.Daemon, id string) error {
	err := d.Kill(ctx, id, libcontainerd.InitProcess, syscall.SIGKILL, true)
	if err == nil {
		_, err = d.Wait(ctx, id, libcontainerd.InitProcess)
	}
	if err == nil || errdefs.IsNotFound(err) { // it has ended
		_, err = d.Delete(ctx, id, libcontainerd.InitProcess)
	}
	switch {
	case err == nil:
		log.WithField("container", id).Warn("a task at the runtime daemon belonged to no container, and was deleted")
	case errdefs.IsNotFound(err):
		return nil
	}
	return err
}
