package core

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/runtimed/internal/ocispec"
)

// plan is what a create is about to do, found out before anything is done. It belongs to the request that creates.
type plan struct {
	config  []byte // the bundle's config.json: the record's spec, and what was changed in it
	sandbox *containerTask
	pins    ocispec.Pins // the sandbox's namespaces
}

// makePlan decides how a container's spec becomes a bundle on this host: which namespaces it shares, and what the
// host withholds. A change that it makes is in the task's warnings. Errors are of class InvalidArgument for a wrong
// spec, FailedPrecondition for what the host or the sandbox can't give, NotFound for a sandbox that isn't there.
// After an error nothing is left open; else the caller closes the plan.
func (t *containerTask) makePlan(ctx context.Context, spec *specs.Spec, raw []byte) (*plan, error) {
	d := t.c.d
	if err := ocispec.CheckRoot(spec, t.record.Mounted); err != nil {
		return nil, err
	}
	if err := d.host.RequireSpec(ctx, spec, t.record.Runtime.Path); err != nil {
		return nil, fmt.Errorf("cannot create container %q: %w", t.c.id, err)
	}
	var edits []ocispec.Edit
	if t.record.Warnings = d.host.Clamp(spec.Process); t.record.Warnings != nil {
		d.log.WithField("container", t.c.id).Warn(strings.Join(t.record.Warnings, "; "))
		if spec.Process.Rlimits != nil {
			edits = append(edits, ocispec.Edit{Path: []string{"process", "rlimits"}, Value: spec.Process.Rlimits})
		}
		if spec.Process.OOMScoreAdj != nil {
			edits = append(edits,
				ocispec.Edit{Path: []string{"process", "oomScoreAdj"}, Value: spec.Process.OOMScoreAdj})
		}
	}
	p := &plan{}
	if err := t.joinSandbox(p, spec); err != nil {
		return nil, err
	}
	if p.sandbox != nil {
		edits = append(edits, ocispec.Edit{Path: []string{"linux", "namespaces"}, Value: spec.Linux.Namespaces})
		if ocispec.NamespaceIndex(spec, specs.UserNamespace) >= 0 {
			edits = append(edits, ocispec.Edit{Path: []string{"linux", "uidMappings"}, Value: spec.Linux.UIDMappings},
				ocispec.Edit{Path: []string{"linux", "gidMappings"}, Value: spec.Linux.GIDMappings})
		}
	}
	p.config = raw
	for _, e := range edits {
		var err error
		if p.config, err = ocispec.Amend(p.config, e.Path, e.Value); err != nil {
			p.pins.Close()
			return nil, err
		}
	}
	return p, nil
}

// endPlan closes what a create needed.
func (t *containerTask) endPlan() {
	t.plan.pins.Close()
	t.plan = nil
}

// checkStreams refuses paths that no FIFO can be at, before anything is done; what is there is looked at when it is
// opened.
func checkStreams(r processRecord) error {
	for _, path := range []string{r.Stdin, r.Stdout, r.Stderr} {
		if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path) {
			return fmt.Errorf("the stream's path %.200q is not absolute and clean: %w",
				path, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
