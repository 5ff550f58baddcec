package runtimed

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// plan is what a create is about to do, found out before anything is done. It belongs to the request that creates.
type plan struct {
	config  []byte // the bundle's config.json: the record's spec, and what was changed in it
	sandbox *containerTask
	pins    pins // the sandbox's namespaces
}

// makePlan decides how a container's spec becomes a bundle on this host: which namespaces it shares, and what the host withholds. A change that it makes is in the
// task's warnings. Errors are of class InvalidArgument for a wrong spec, FailedPrecondition for what the host or the sandbox can't give, NotFound for a sandbox
// that isn't there. After an error nothing is left open; else the caller closes the plan.
func (d *Daemon) makePlan(ctx context.Context, t *containerTask, spec *specs.Spec, raw []byte) (*plan, error) {
	if err := checkRoot(spec, t.record.Mounted); err != nil {
		return nil, err
	}
	if err := d.host.requireSpec(ctx, spec, t.record.Runtime); err != nil {
		return nil, fmt.Errorf("cannot create container %q: %w", t.c.id, err)
	}
	var edits []edit
	if t.record.Warnings = d.host.Clamp(spec.Process); t.record.Warnings != nil {
		d.log.WithField("container", t.c.id).Warn(strings.Join(t.record.Warnings, "; "))
		if spec.Process.Rlimits != nil {
			edits = append(edits, edit{[]string{"process", "rlimits"}, spec.Process.Rlimits})
		}
		if spec.Process.OOMScoreAdj != nil {
			edits = append(edits, edit{[]string{"process", "oomScoreAdj"}, spec.Process.OOMScoreAdj})
		}
	}
	p := &plan{}
	if err := d.joinSandbox(t, p, spec); err != nil {
		return nil, err
	}
	if p.sandbox != nil {
		edits = append(edits, edit{[]string{"linux", "namespaces"}, spec.Linux.Namespaces})
		if namespaceIn(spec, specs.UserNamespace) >= 0 {
			edits = append(edits, edit{[]string{"linux", "uidMappings"}, spec.Linux.UIDMappings}, edit{[]string{"linux", "gidMappings"}, spec.Linux.GIDMappings})
		}
	}
	p.config = raw
	for _, e := range edits {
		var err error
		if p.config, err = amend(p.config, e.path, e.value); err != nil {
			p.pins.close()
			return nil, err
		}
	}
	return p, nil
}

// checkRoot refuses a root filesystem that is neither in the bundle nor at a path of its own.
func checkRoot(spec *specs.Spec, mounted bool) error {
	path := spec.Root.Path
	if !filepath.IsAbs(path) && !filepath.IsLocal(path) {
		return fmt.Errorf("the container's root %.200q leads out of the bundle: %w", path, errdefs.ErrInvalidArgument)
	}
	if mounted && !filepath.IsAbs(path) && filepath.Clean(path) != "rootfs" {
		return fmt.Errorf("the request's mounts are for %q in the bundle and the container's root is %.200q: %w", "rootfs", path, errdefs.ErrInvalidArgument)
	}
	return nil
}

// edit is a new value for one place in a JSON document.
type edit struct {
	path  []string
	value any
}

// amend replaces the value at a path of object keys and leaves all else as it is, also what this build knows nothing of. Objects that are missing on the way are
// made. Errors are of class InvalidArgument.
func amend(doc []byte, path []string, value any) ([]byte, error) {
	if len(path) == 0 {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("cannot encode a change of the spec: %v: %w", err, errdefs.ErrInvalidArgument)
		}
		return data, nil
	}
	var object map[string]json.RawMessage
	if len(doc) > 0 {
		if err := json.Unmarshal(doc, &object); err != nil {
			return nil, fmt.Errorf("cannot change the spec at %q: %v: %w", path[0], err, errdefs.ErrInvalidArgument)
		}
	}
	inner, err := amend(object[path[0]], path[1:], value)
	if err != nil {
		return nil, err
	}
	if object == nil {
		object = make(map[string]json.RawMessage)
	}
	object[path[0]] = inner
	data, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the changed spec: %v: %w", err, errdefs.ErrInvalidArgument)
	}
	return data, nil
}

// endPlan closes what a create needed.
func (t *containerTask) endPlan() {
	t.plan.pins.close()
	t.plan = nil
}

// checkStreams refuses paths that no FIFO can be at, before anything is done; what is there is looked at when it is opened.
func checkStreams(r processRecord) error {
	for _, path := range []string{r.Stdin, r.Stdout, r.Stderr} {
		if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path) {
			return fmt.Errorf("the stream's path %.200q is not absolute and clean: %w", path, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
