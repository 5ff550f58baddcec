package runtimed

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/emptypb"
)

// namespacesAPI is containerd's namespaces service. A namespace also begins with its first container.
type namespacesAPI struct {
	namespaces.UnimplementedNamespacesServer
	d *Daemon
}

// Get returns a namespace with its labels.
func (a *namespacesAPI) Get(_ context.Context, r *namespaces.GetNamespaceRequest) (*namespaces.GetNamespaceResponse, error) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	n, ok := a.d.namespaces[r.Name]
	if !ok {
		return nil, noNamespace(r.Name)
	}
	return &namespaces.GetNamespaceResponse{Namespace: &namespaces.Namespace{Name: r.Name, Labels: n.labels}}, nil
}

// List returns all namespaces, ordered by name.
func (a *namespacesAPI) List(context.Context, *namespaces.ListNamespacesRequest) (*namespaces.ListNamespacesResponse, error) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	var list []*namespaces.Namespace
	for name, n := range a.d.namespaces {
		list = append(list, &namespaces.Namespace{Name: name, Labels: n.labels})
	}
	slices.SortFunc(list, func(x, y *namespaces.Namespace) int { return strings.Compare(x.Name, y.Name) })
	return &namespaces.ListNamespacesResponse{Namespaces: list}, nil
}

// Create makes an empty namespace.
func (a *namespacesAPI) Create(_ context.Context, r *namespaces.CreateNamespaceRequest) (*namespaces.CreateNamespaceResponse, error) {
	name := r.Namespace.GetName()
	if err := validID("namespace", name); err != nil {
		return nil, err
	}
	fresh, err := a.d.ensureNamespace(name, r.Namespace.Labels)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, fmt.Errorf("namespace %q: %w", name, errdefs.ErrAlreadyExists)
	}
	a.d.publish(name, "/namespaces/create", &events.NamespaceCreate{Name: name, Labels: r.Namespace.Labels})
	return &namespaces.CreateNamespaceResponse{Namespace: r.Namespace}, nil
}

// Update replaces the labels that the mask names, or all.
func (a *namespacesAPI) Update(_ context.Context, r *namespaces.UpdateNamespaceRequest) (*namespaces.UpdateNamespaceResponse, error) {
	name := r.Namespace.GetName()
	paths := r.UpdateMask.GetPaths()
	for _, path := range paths {
		if path != "labels" && !strings.HasPrefix(path, "labels.") {
			return nil, fmt.Errorf("cannot update field %q of namespace %q: %w", path, name, errdefs.ErrInvalidArgument)
		}
	}
	labels, err := a.d.setLabels(name, func(labels map[string]string) map[string]string {
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
	a.d.publish(name, "/namespaces/update", &events.NamespaceUpdate{Name: name, Labels: labels})
	return &namespaces.UpdateNamespaceResponse{Namespace: &namespaces.Namespace{Name: name, Labels: labels}}, nil
}

// Delete removes an empty namespace. FailedPrecondition while it has containers.
func (a *namespacesAPI) Delete(_ context.Context, r *namespaces.DeleteNamespaceRequest) (*emptypb.Empty, error) {
	if err := a.d.deleteNamespace(r.Name); err != nil {
		return nil, err
	}
	a.d.publish(r.Name, "/namespaces/delete", &events.NamespaceDelete{Name: r.Name})
	return &emptypb.Empty{}, nil
}
