package core

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// ValidID refuses what containerd would, before a path is made of it.
func ValidID(what, id string) error {
	if err := identifiers.Validate(id); err != nil {
		return fmt.Errorf("bad %s id: %w", what, err)
	}
	return nil
}

const namespaceFile = "namespace.json"

// ensureNamespace makes a namespace if it isn't there; fresh tells whether it was made.
func (d *Daemon) ensureNamespace(ns string, labels map[string]string) (fresh bool, err error) {
	dir := filepath.Join(d.opts.Root, ns)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return false, err
	}
	d.mu.Lock()
	_, there := d.namespaces[ns]
	if !there {
		d.namespaces[ns] = &namespace{labels: labels, containers: make(map[string]*container)}
	}
	d.mu.Unlock()
	if there || len(labels) == 0 {
		return !there, nil
	}
	return true, statefile.WriteJSON(filepath.Join(dir, namespaceFile), labels)
}

// setLabels replaces a namespace's labels by what change makes of them. NotFound without the namespace.
func (d *Daemon) setLabels(ns string, change func(map[string]string) map[string]string) (map[string]string, error) {
	d.mu.Lock()
	n, ok := d.namespaces[ns]
	var labels map[string]string
	if ok {
		labels = change(n.labels)
		n.labels = labels
	}
	d.mu.Unlock()
	if !ok {
		return nil, noNamespace(ns)
	}
	return labels, statefile.WriteJSON(filepath.Join(d.opts.Root, ns, namespaceFile), labels)
}

// deleteNamespace removes an empty namespace.
func (d *Daemon) deleteNamespace(ns string) error {
	d.mu.Lock()
	n, ok := d.namespaces[ns]
	empty := ok && len(n.containers) == 0
	if empty {
		delete(d.namespaces, ns)
	}
	d.mu.Unlock()
	if !ok {
		return noNamespace(ns)
	}
	if !empty {
		return fmt.Errorf("namespace %q has containers: %w", ns, errdefs.ErrFailedPrecondition)
	}
	if err := os.RemoveAll(filepath.Join(d.opts.Root, ".oci", ns)); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(d.opts.Root, ns))
}

func noNamespace(ns string) error {
	return fmt.Errorf("no namespace %q: %w", ns, errdefs.ErrNotFound)
}

// NamespaceLabels returns a namespace's labels, which nobody changes. NotFound without the namespace.
func (d *Daemon) NamespaceLabels(ns string) (map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.namespaces[ns]
	if !ok {
		return nil, noNamespace(ns)
	}
	return n.labels, nil
}

// AllNamespaces returns the labels of all namespaces.
func (d *Daemon) AllNamespaces() map[string]map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]map[string]string, len(d.namespaces))
	for name, n := range d.namespaces {
		all[name] = n.labels
	}
	return all
}

// AddNamespace makes an empty namespace. AlreadyExists if the name is taken.
func (d *Daemon) AddNamespace(ns string, labels map[string]string) error {
	if err := ValidID("namespace", ns); err != nil {
		return err
	}
	fresh, err := d.ensureNamespace(ns, labels)
	if err != nil {
		return err
	}
	if !fresh {
		return fmt.Errorf("namespace %q: %w", ns, errdefs.ErrAlreadyExists)
	}
	d.publish(ns, "/namespaces/create", &events.NamespaceCreate{Name: ns, Labels: labels})
	return nil
}

// ChangeNamespace replaces a namespace's labels by what change makes of them, which must not change the map that it
// is given. NotFound without the namespace.
func (d *Daemon) ChangeNamespace(
	ns string, change func(map[string]string) map[string]string,
) (map[string]string, error) {
	labels, err := d.setLabels(ns, change)
	if err != nil {
		return nil, err
	}
	d.publish(ns, "/namespaces/update", &events.NamespaceUpdate{Name: ns, Labels: labels})
	return labels, nil
}

// RemoveNamespace removes an empty namespace. FailedPrecondition while it has containers.
func (d *Daemon) RemoveNamespace(ns string) error {
	if err := d.deleteNamespace(ns); err != nil {
		return err
	}
	d.publish(ns, "/namespaces/delete", &events.NamespaceDelete{Name: ns})
	return nil
}
