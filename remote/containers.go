package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// The type URLs that containerd uses for OCI's types in JSON.
const (
	specURL      = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
	processURL   = "types.containerd.io/opencontainers/runtime-spec/1/Process"
	resourcesURL = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
)

func asAny(url string, v any) (*anypb.Any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", url, err)
	}
	return &anypb.Any{TypeUrl: url, Value: b}, nil
}

// CreateContainer stores a record. Errors: InvalidArgument for a malformed type of
// runtime, a reserved label, or options that can't be encoded; NotImplemented for
// RuntimeArgs with containerd. Whether the runtime exists is checked when a task is
// created.
func (d *Daemon) CreateContainer(ctx context.Context, r libcontainerd.Record) error {
	spec, err := asAny(specURL, r.Spec)
	if err != nil {
		return err
	}
	runtime, err := runtimeType(r.Runtime)
	if err != nil {
		return err
	}
	labels, err := d.labels(r)
	if err != nil {
		return err
	}
	_, err = d.containers.Create(ctx, &containersapi.CreateContainerRequest{Container: &containersapi.Container{
		ID: r.ID, Labels: labels, Spec: spec,
		Runtime: &containersapi.Container_Runtime{Name: runtime, Options: packed(r.RuntimeOptions)},
	}})
	return err
}

// DeleteContainer deletes a record.
func (d *Daemon) DeleteContainer(ctx context.Context, id string) error {
	_, err := d.containers.Delete(ctx, &containersapi.DeleteContainerRequest{ID: id})
	return err
}

// Containers calls fn with the id of each record. It uses the API's stream, since the
// specs of a thousand containers may not fit into one message.
func (d *Daemon) Containers(ctx context.Context, fn func(id string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := d.containers.ListStream(ctx, &containersapi.ListContainersRequest{})
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return native(err)
		}
		if err := fn(m.GetContainer().GetID()); err != nil {
			return err
		}
	}
}
