package runtimed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc/metadata"
)

// namespaceHeader is the request header that names the namespace, as containerd has it.
const namespaceHeader = "containerd-namespace"

// validID refuses what containerd would, before a path is made of it.
func validID(what, id string) error {
	if err := identifiers.Validate(id); err != nil {
		return fmt.Errorf("bad %s id: %w", what, err)
	}
	return nil
}

// namespaceOf reads the namespace of a request. InvalidArgument without one, or for one that none can have.
func namespaceOf(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, namespaceHeader)
	if len(values) != 1 {
		return "", fmt.Errorf("a request needs one %s header and has %d: %w", namespaceHeader, len(values), errdefs.ErrInvalidArgument)
	}
	if err := validID("namespace", values[0]); err != nil {
		return "", err
	}
	return values[0], nil
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
	return true, writeJSON(filepath.Join(dir, namespaceFile), labels)
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
	return labels, writeJSON(filepath.Join(d.opts.Root, ns, namespaceFile), labels)
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
