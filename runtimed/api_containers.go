package runtimed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const containerFile = "container.pb"

// containersAPI is containerd's containers service.
type containersAPI struct {
	containers.UnimplementedContainersServer
	d *Daemon
}

// Get returns one record.
func (a *containersAPI) Get(ctx context.Context, r *containers.GetContainerRequest) (*containers.GetContainerResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	c, err := a.d.find(ns, r.ID)
	if err != nil {
		return nil, err
	}
	record, err := c.read()
	if err != nil {
		return nil, err
	}
	return &containers.GetContainerResponse{Container: record}, nil
}

// List returns the records that match any of the filters. With many it is larger than a message may be: ListStream has no such bound.
func (a *containersAPI) List(ctx context.Context, r *containers.ListContainersRequest) (*containers.ListContainersResponse, error) {
	var records []*containers.Container
	err := a.match(ctx, r.Filters, func(record *containers.Container) error {
		records = append(records, record)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &containers.ListContainersResponse{Containers: records}, nil
}

// ListStream is List with one message for each record.
func (a *containersAPI) ListStream(r *containers.ListContainersRequest, stream containers.Containers_ListStreamServer) error {
	return a.match(stream.Context(), r.Filters, func(record *containers.Container) error {
		return stream.Send(&containers.ListContainerMessage{Container: record})
	})
}

// match calls fn with the records that match any of the filters, one after the other, ordered by id.
func (a *containersAPI) match(ctx context.Context, texts []string, fn func(*containers.Container) error) error {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return err
	}
	filter, err := filters.ParseAll(texts...)
	if err != nil {
		return fmt.Errorf("bad filter: %w", err)
	}
	list := a.d.list(ns)
	slices.SortFunc(list, func(x, y *container) int { return strings.Compare(x.id, y.id) })
	for _, c := range list {
		record, err := c.read()
		if errdefs.IsNotFound(err) {
			continue // deleted meanwhile, or being made
		}
		if err != nil {
			return err
		}
		if !filter.Match(containerFields(record)) {
			continue
		}
		if err := fn(record); err != nil {
			return err
		}
	}
	return nil
}

// containerFields are the fields that a filter can name, as containerd has them.
func containerFields(c *containers.Container) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		switch {
		case len(path) == 1 && path[0] == "id":
			return c.ID, true
		case len(path) == 1 && path[0] == "image":
			return c.Image, c.Image != ""
		case len(path) == 2 && path[0] == "runtime" && path[1] == "name":
			return c.Runtime.GetName(), c.Runtime.GetName() != ""
		case len(path) > 1 && path[0] == "labels":
			value, ok := c.Labels[strings.Join(path[1:], ".")]
			return value, ok
		}
		return "", false
	})
}

// Create stores a record.
func (a *containersAPI) Create(ctx context.Context, r *containers.CreateContainerRequest) (*containers.CreateContainerResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := validID("container", r.Container.GetID()); err != nil {
		return nil, err
	}
	record := proto.CloneOf(r.Container)
	record.CreatedAt = timestamppb.Now()
	record.UpdatedAt = record.CreatedAt
	a.d.prepare() // a start comes next, in most cases
	if err := a.d.createContainer(ns, record); err != nil {
		return nil, err
	}
	runtime := &events.ContainerCreate_Runtime{Name: record.Runtime.GetName(), Options: record.Runtime.GetOptions()}
	a.d.publish(ns, "/containers/create", &events.ContainerCreate{ID: record.ID, Image: record.Image, Runtime: runtime})
	return &containers.CreateContainerResponse{Container: record}, nil
}

// Update replaces the fields of a record that the mask names, or all that may change.
func (a *containersAPI) Update(ctx context.Context, r *containers.UpdateContainerRequest) (*containers.UpdateContainerResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	c, err := a.d.find(ns, r.Container.GetID())
	if err != nil {
		return nil, err
	}
	var updated *containers.Container
	err = a.d.change(ctx, c, func(context.Context) error {
		record, err := c.read()
		if err != nil {
			return err
		}
		updated, err = applyMask(record, r.Container, r.UpdateMask.GetPaths())
		if err != nil {
			return err
		}
		updated.UpdatedAt = timestamppb.Now()
		return c.store(updated)
	})
	if err != nil {
		return nil, err
	}
	a.d.publish(ns, "/containers/update", &events.ContainerUpdate{
		ID: updated.ID, Image: updated.Image, Labels: updated.Labels, SnapshotKey: updated.SnapshotKey,
	})
	return &containers.UpdateContainerResponse{Container: updated}, nil
}

// applyMask returns a record with the fields of from that the paths name; without paths all that may change.
func applyMask(c, from *containers.Container, paths []string) (*containers.Container, error) {
	if len(paths) == 0 {
		paths = []string{"labels", "spec", "extensions", "image", "snapshot_key"}
	}
	for _, path := range paths {
		field, key, within := strings.Cut(path, ".")
		switch {
		case field == "labels" && within:
			c.Labels = with(c.Labels, key, from.Labels)
		case field == "extensions" && within:
			c.Extensions = with(c.Extensions, key, from.Extensions)
		case path == "labels":
			c.Labels = from.Labels
		case path == "extensions":
			c.Extensions = from.Extensions
		case path == "spec":
			c.Spec = from.Spec
		case path == "image":
			c.Image = from.Image
		case path == "snapshot_key", path == "snapshotkey":
			c.SnapshotKey = from.SnapshotKey
		default:
			return nil, fmt.Errorf("cannot update field %q of container %q: %w", path, c.ID, errdefs.ErrInvalidArgument)
		}
	}
	return c, nil
}

// with returns a map with one key as another map has it.
func with[V any](m map[string]V, key string, from map[string]V) map[string]V {
	m = maps.Clone(m)
	if v, ok := from[key]; ok {
		if m == nil {
			m = make(map[string]V)
		}
		m[key] = v
	} else {
		delete(m, key)
	}
	return m
}

// Delete removes a record that has no task.
func (a *containersAPI) Delete(ctx context.Context, r *containers.DeleteContainerRequest) (*emptypb.Empty, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	c, err := a.d.find(ns, r.ID)
	if err != nil {
		return nil, err
	}
	err = a.d.change(ctx, c, func(op context.Context) error { return a.d.deleteContainer(op, c) })
	if err != nil {
		return nil, err
	}
	a.d.publish(ns, "/containers/delete", &events.ContainerDelete{ID: c.id})
	return &emptypb.Empty{}, nil
}

// createContainer puts a new record into the index and on disk. AlreadyExists if the id is taken.
func (d *Daemon) createContainer(ns string, record *containers.Container) error {
	if _, err := d.ensureNamespace(ns, nil); err != nil {
		return err
	}
	c := newContainer(ns, record.ID, filepath.Join(d.opts.Root, ns, record.ID))
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
		err = d.clearRemains(c.dir)
	}
	if err == nil {
		err = c.store(record)
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(c.dir))
		c.setDeleted()
		d.unlist(c)
	}
	return err
}

// clearRemains empties a directory that no record belongs to: a create or delete was killed in the middle. One with a task is
// not touched.
func (d *Daemon) clearRemains(dir string) error {
	if exists(filepath.Join(dir, taskFile)) {
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
	return writeFile(filepath.Join(c.dir, containerFile), data)
}

// deleteContainer removes a record from disk and then from the index. The caller has the container.
func (d *Daemon) deleteContainer(ctx context.Context, c *container) error {
	if c.isDeleted() {
		return fmt.Errorf("no container %q: %w", c.id, errdefs.ErrNotFound)
	}
	if t := c.get(); t != nil {
		return fmt.Errorf("cannot delete container %q while it has a task: %w", c.id, errdefs.ErrFailedPrecondition)
	}
	if err := d.discardRemains(ctx, c); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	c.setDeleted()
	d.unlist(c)
	return nil
}

func (d *Daemon) unlist(c *container) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.namespaces[c.ns]; n != nil {
		delete(n.containers, c.id)
	}
}
