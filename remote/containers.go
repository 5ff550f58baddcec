package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// The type URLs under which containerd keeps the JSON of OCI's types.
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

// runtimeType checks a runtime's type, for not every release of containerd does: a
// name of which the last two words are those of the shim's binary, such as
// io.containerd.kata.v2, or that binary's absolute path.
func runtimeType(name string) (string, error) {
	if name == "" {
		return defaultRuntime, nil
	}
	if filepath.IsAbs(name) || strings.Contains(name, ".") && identifiers.Validate(name) == nil {
		return name, nil
	}
	return "", fmt.Errorf("runtime %q is neither a type like %s nor an absolute path: %w", name, defaultRuntime, errdefs.ErrInvalidArgument)
}

// CreateContainer stores a record. The error is InvalidArgument for a runtime that
// can't be one; whether it is there shows when a task is created.
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
	opts, err := packed(r.RuntimeOptions)
	if err != nil {
		return err
	}
	_, err = d.containers.Create(ctx, &containersapi.CreateContainerRequest{Container: &containersapi.Container{
		ID: r.ID, Labels: labels, Spec: spec,
		Runtime: &containersapi.Container_Runtime{Name: runtime, Options: opts},
	}})
	return err
}

// DeleteContainer deletes a record.
func (d *Daemon) DeleteContainer(ctx context.Context, id string) error {
	_, err := d.containers.Delete(ctx, &containersapi.DeleteContainerRequest{ID: id})
	return err
}

// Containers hands over the ids of all records, from a stream: a thousand
// specs are more than one message may hold.
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
