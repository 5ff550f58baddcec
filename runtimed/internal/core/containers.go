package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// createContainer puts a new record into the index and on disk. AlreadyExists if the id is taken.
func (d *Daemon) createContainer(ns string, record *containers.Container) error {
	if _, err := d.ensureNamespace(ns, nil); err != nil {
		return err
	}
	c := newContainer(d, ns, record.ID, filepath.Join(d.opts.Root, ns, record.ID))
	c.busy <- struct{}{} // nothing may be done to it before it is on disk
	defer c.release()
	d.mu.Lock()
	n := d.namespaces[ns]
	taken := n == nil || n.containers[c.id] != nil
	if !taken {
		n.containers[c.id] = c
	}
	d.mu.Unlock()
	if n == nil {
		return noNamespace(ns) // deleted just now
	}
	if taken {
		return fmt.Errorf("container %q: %w", c.id, errdefs.ErrAlreadyExists)
	}
	err := os.Mkdir(c.dir, 0o711)
	if errors.Is(err, os.ErrExist) {
		err = d.clearLeftover(c.dir)
	}
	if err == nil {
		err = c.store(record)
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(c.dir))
		c.setDeleted()
		c.unlist()
	}
	return err
}

// clearLeftover empties a directory without a record: a create or a delete was killed half way. A directory with a
// task is left alone.
func (d *Daemon) clearLeftover(dir string) error {
	if statefile.Exists(filepath.Join(dir, taskFile)) {
		return fmt.Errorf("%s holds a task that could not be read: %w", dir, errdefs.ErrFailedPrecondition)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o711)
}

// store writes a record to disk.
func (c *container) store(record *containers.Container) error {
	data, err := proto.Marshal(record)
	if err != nil {
		return fmt.Errorf("cannot encode container %q: %v: %w", c.id, err, errdefs.ErrInvalidArgument)
	}
	return statefile.Write(filepath.Join(c.dir, containerFile), data)
}

// delete removes a record from disk and then from the index. The caller has the container.
func (c *container) delete(ctx context.Context) error {
	if c.isDeleted() {
		return fmt.Errorf("no container %q: %w", c.id, errdefs.ErrNotFound)
	}
	if t := c.get(); t != nil {
		return fmt.Errorf("cannot delete container %q while it has a task: %w", c.id, errdefs.ErrFailedPrecondition)
	}
	if err := c.discardLeftover(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	c.setDeleted()
	c.unlist()
	return nil
}

func (c *container) unlist() {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.namespaces[c.ns]; n != nil {
		delete(n.containers, c.id)
	}
}

const containerFile = "container.pb"

// ReadContainer returns a container's record.
func (d *Daemon) ReadContainer(ns, id string) (*containers.Container, error) {
	c, err := d.find(ns, id)
	if err != nil {
		return nil, err
	}
	return c.read()
}

// EachContainer calls fn with the records of a namespace, one after the other, ordered by id, until it fails.
func (d *Daemon) EachContainer(ns string, fn func(*containers.Container) error) error {
	list := d.list(ns)
	slices.SortFunc(list, func(x, y *container) int { return strings.Compare(x.id, y.id) })
	for _, c := range list {
		record, err := c.read()
		if errdefs.IsNotFound(err) {
			continue // deleted meanwhile, or being made
		}
		if err != nil {
			return err
		}
		if err := fn(record); err != nil {
			return err
		}
	}
	return nil
}

// AddContainer stores a new record. AlreadyExists if the id is taken.
func (d *Daemon) AddContainer(ns string, record *containers.Container) error {
	if err := ValidID("container", record.GetID()); err != nil {
		return err
	}
	d.prepareMigration() // a start comes next, in most cases
	if err := d.createContainer(ns, record); err != nil {
		return err
	}
	runtime := &events.ContainerCreate_Runtime{Name: record.Runtime.GetName(), Options: record.Runtime.GetOptions()}
	d.publish(ns, "/containers/create", &events.ContainerCreate{ID: record.ID, Image: record.Image, Runtime: runtime})
	return nil
}

// ChangeContainer replaces a record by what change makes of it.
func (d *Daemon) ChangeContainer(
	ctx context.Context, ns, id string, change func(*containers.Container) (*containers.Container, error),
) (*containers.Container, error) {
	c, err := d.find(ns, id)
	if err != nil {
		return nil, err
	}
	var updated *containers.Container
	err = c.change(ctx, func(context.Context) error {
		record, err := c.read()
		if err != nil {
			return err
		}
		if updated, err = change(record); err != nil {
			return err
		}
		updated.UpdatedAt = timestamppb.Now()
		return c.store(updated)
	})
	if err != nil {
		return nil, err
	}
	d.publish(ns, "/containers/update", &events.ContainerUpdate{
		ID: updated.ID, Image: updated.Image, Labels: updated.Labels, SnapshotKey: updated.SnapshotKey,
	})
	return updated, nil
}

// RemoveContainer removes the record of a container that has no task.
func (d *Daemon) RemoveContainer(ctx context.Context, ns, id string) error {
	c, err := d.find(ns, id)
	if err != nil {
		return err
	}
	if err := c.change(ctx, func(op context.Context) error { return c.delete(op) }); err != nil {
		return err
	}
	d.publish(ns, "/containers/delete", &events.ContainerDelete{ID: c.id})
	return nil
}
