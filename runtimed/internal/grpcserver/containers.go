package grpcserver

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/runtimed/internal/core"
)

// containersAPI is containerd's containers service.
type containersAPI struct {
	containers.UnimplementedContainersServer
	d *core.Daemon
}

// Get returns one record.
func (a *containersAPI) Get(
	ctx context.Context, r *containers.GetContainerRequest,
) (*containers.GetContainerResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	record, err := a.d.ReadContainer(ns, r.ID)
	if err != nil {
		return nil, err
	}
	return &containers.GetContainerResponse{Container: record}, nil
}

// List returns the records that match any of the filters. With many it is larger than a message may be: ListStream
// has no such bound.
func (a *containersAPI) List(
	ctx context.Context, r *containers.ListContainersRequest,
) (*containers.ListContainersResponse, error) {
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
func (a *containersAPI) ListStream(
	r *containers.ListContainersRequest, stream containers.Containers_ListStreamServer,
) error {
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
	return a.d.EachContainer(ns, func(record *containers.Container) error {
		if !filter.Match(containerFields(record)) {
			return nil
		}
		return fn(record)
	})
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
func (a *containersAPI) Create(
	ctx context.Context, r *containers.CreateContainerRequest,
) (*containers.CreateContainerResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	if r.Container == nil {
		return nil, fmt.Errorf("a container needs a record: %w", errdefs.ErrInvalidArgument)
	}
	record := proto.CloneOf(r.Container)
	record.CreatedAt = timestamppb.Now()
	record.UpdatedAt = record.CreatedAt
	if err := a.d.AddContainer(ns, record); err != nil {
		return nil, err
	}
	return &containers.CreateContainerResponse{Container: record}, nil
}

// Update replaces the fields of a record that the mask names, or all that may change.
func (a *containersAPI) Update(
	ctx context.Context, r *containers.UpdateContainerRequest,
) (*containers.UpdateContainerResponse, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	updated, err := a.d.ChangeContainer(ctx, ns, r.Container.GetID(),
		func(record *containers.Container) (*containers.Container, error) {
			return applyMask(record, r.Container, r.UpdateMask.GetPaths())
		})
	if err != nil {
		return nil, err
	}
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
	if err := a.d.RemoveContainer(ctx, ns, r.ID); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
