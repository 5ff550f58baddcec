package core

import (
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/runtimed/internal/criu"
	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
)

// runtimeFor finds the OCI runtime of a container: the request's, else the record's, else the daemon's. It is called
// with the options that the request and the record make together.
func (c *container) runtimeFor(
	record *containers.Container, r *tasks.CreateTaskRequest, opts *options.Options,
) (ociruntime.Runtime, error) {
	d := c.d
	switch name := record.Runtime.GetName(); name {
	case "", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux":
	default:
		return ociruntime.Runtime{}, fmt.Errorf("runtime %q needs a shim, and runtimed has none: %w",
			name, errdefs.ErrNotImplemented)
	}
	args, err := ociruntime.ParseArgs(record.Labels[ociruntime.LabelArgs])
	if err != nil {
		return ociruntime.Runtime{}, err
	}
	if opts.SystemdCgroup {
		if err := ociruntime.RequireSystemd(ociruntime.SystemdDir); err != nil {
			return ociruntime.Runtime{}, err
		}
	}
	oci := ociruntime.Runtime{
		Path: d.runtime, Root: filepath.Join(d.opts.Root, ".oci", c.ns, c.id), Args: args,
		SystemdCgroup: opts.SystemdCgroup, NoPivotRoot: opts.NoPivotRoot, NoNewKeyring: opts.NoNewKeyring,
	}
	for _, name := range []string{r.RuntimePath, opts.BinaryName} {
		if name != "" {
			oci.Path, err = ociruntime.Find(name)
			return oci, err
		}
	}
	return oci, nil
}

// planRuntime decides with what, and how, a task's processes are going to be made.
func (t *containerTask) planRuntime(record *containers.Container, r *tasks.CreateTaskRequest) error {
	opts, err := ociruntime.RuncOptions(r.Options, record.Runtime.GetOptions())
	if err != nil {
		return err
	}
	plan := &t.record
	if plan.Runtime, err = t.c.runtimeFor(record, r, opts); err != nil {
		return err
	}
	if plan.NoClean, err = ociruntime.ParseNoClean(record.Labels[ociruntime.LabelNoClean]); err != nil {
		return err
	}
	plan.IoUID, plan.IoGID = opts.IoUid, opts.IoGid
	if opts.CriuImagePath == "" {
		return nil
	}
	plan.Restore, err = criu.PlanRestore(opts.CriuImagePath, opts.CriuWorkPath, r.Terminal)
	return err
}
