package grpcserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/engine-lite/engine-lite/runtimed/internal/core"
)

// namespacesAPI is containerd's namespaces service. A namespace also begins with its first container.
type namespacesAPI struct {
	namespaces.UnimplementedNamespacesServer
	d *core.Daemon
}

// Get returns a namespace with its labels.
func (a *namespacesAPI) Get(
	_ context.Context, r *namespaces.GetNamespaceRequest,
) (*namespaces.GetNamespaceResponse, error) {
	labels, err := a.d.NamespaceLabels(r.Name)
	if err != nil {
		return nil, err
	}
	return &namespaces.GetNamespaceResponse{Namespace: &namespaces.Namespace{Name: r.Name, Labels: labels}}, nil
}

// List returns all namespaces, ordered by name.
func (a *namespacesAPI) List(
	context.Context, *namespaces.ListNamespacesRequest,
) (*namespaces.ListNamespacesResponse, error) {
	var list []*namespaces.Namespace
	for name, labels := range a.d.AllNamespaces() {
		list = append(list, &namespaces.Namespace{Name: name, Labels: labels})
	}
	slices.SortFunc(list, func(x, y *namespaces.Namespace) int { return strings.Compare(x.Name, y.Name) })
	return &namespaces.ListNamespacesResponse{Namespaces: list}, nil
}

// Create makes an empty namespace.
func (a *namespacesAPI) Create(
	_ context.Context, r *namespaces.CreateNamespaceRequest,
) (*namespaces.CreateNamespaceResponse, error) {
	name := r.Namespace.GetName()
	if err := a.d.AddNamespace(name, r.Namespace.GetLabels()); err != nil {
		return nil, err
	}
	return &namespaces.CreateNamespaceResponse{Namespace: r.Namespace}, nil
}

// Update replaces the labels that the mask names, or all.
func (a *namespacesAPI) Update(
	_ context.Context, r *namespaces.UpdateNamespaceRequest,
) (*namespaces.UpdateNamespaceResponse, error) {
	name := r.Namespace.GetName()
	paths := r.UpdateMask.GetPaths()
	for _, path := range paths {
		if path != "labels" && !strings.HasPrefix(path, "labels.") {
			return nil, fmt.Errorf("cannot update field %q of namespace %q: %w", path, name, errdefs.ErrInvalidArgument)
		}
	}
	labels, err := a.d.ChangeNamespace(name, func(labels map[string]string) map[string]string {
		if len(paths) == 0 || slices.Contains(paths, "labels") {
			return r.Namespace.Labels
		}
		for _, path := range paths {
			labels = with(labels, strings.TrimPrefix(path, "labels."), r.Namespace.Labels)
		}
		return labels
	})
	if err != nil {
		return nil, err
	}
	return &namespaces.UpdateNamespaceResponse{Namespace: &namespaces.Namespace{Name: name, Labels: labels}}, nil
}

// Delete removes an empty namespace. FailedPrecondition while it has containers.
func (a *namespacesAPI) Delete(_ context.Context, r *namespaces.DeleteNamespaceRequest) (*emptypb.Empty, error) {
	if err := a.d.RemoveNamespace(r.Name); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
