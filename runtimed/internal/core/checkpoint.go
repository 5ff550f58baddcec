package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/runtimed/internal/criu"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

const (
	// checkpointFile, in a container's directory, tells of a checkpoint that is being made.
	checkpointFile = "checkpoint.json"
)

// pendingCheckpoint is the file checkpointFile.
type pendingCheckpoint struct {
	Target  string `json:"target"`
	Partial string `json:"partial"` // beside the target, which it becomes when it is complete
	Work    string `json:"work"`
	// Outputs are the inodes of the FIFOs whose content is not part of the checkpoint, cut to 32 bits.
	Outputs []uint32 `json:"outputs,omitempty"`
}

func (t *containerTask) checkpoint(ctx context.Context, opts *options.CheckpointOptions) (err error) {
	d := t.c.d
	if err := t.requireRunning("checkpoint"); err != nil {
		return err
	}
	if err := d.host.Features.RequireCRIU(ctx, t.record.Runtime.Path); err != nil {
		return err
	}
	m := criu.Manifest{
		Terminal: t.init.record.Terminal, OpenTCP: opts.OpenTcp, UnixSockets: opts.ExternalUnixSockets, FileLocks: opts.FileLocks,
		EmptyNamespaces: opts.EmptyNamespaces, CgroupsMode: opts.CgroupsMode,
	}
	pending, err := t.beginCheckpoint(&m, opts)
	if err != nil {
		return err
	}
	if err := t.dump(ctx, m, pending, !opts.Exit); err != nil {
		return errors.Join(t.classify(err), t.c.abandonCheckpoint(pending))
	}
	if err := t.c.completeCheckpoint(pending); err != nil {
		return err
	}
	d.publish(t.c.ns, runtime.TaskCheckpointedEventTopic,
		&events.TaskCheckpointed{ContainerID: t.c.id, Checkpoint: opts.ImagePath})
	if opts.Exit {
		return awaitEnd(ctx, t.init)
	}
	return nil
}

// beginCheckpoint makes the directories and writes down what is going to be done.
func (t *containerTask) beginCheckpoint(
	m *criu.Manifest, opts *options.CheckpointOptions,
) (p pendingCheckpoint, err error) {
	if err := requireFree(opts.ImagePath); err != nil {
		return p, err
	}
	p = pendingCheckpoint{Target: opts.ImagePath, Work: opts.WorkPath}
	if p.Work == "" {
		p.Work = t.init.file("criu")
	}
	if !m.Terminal {
		if p.Outputs, err = m.NameStreams(t.init.record.paths()); err != nil {
			return p, fmt.Errorf("cannot checkpoint %s: %w", t.init, err)
		}
	}
	if p.Partial, err = os.MkdirTemp(filepath.Dir(p.Target), "."+filepath.Base(p.Target)+"."); err != nil {
		return p, fmt.Errorf("cannot make the checkpoint's directory: %w", statefile.Classed(err))
	}
	err = errors.Join(
		statefile.WriteJSON(filepath.Join(t.c.dir, checkpointFile), p),
		statefile.WriteJSON(filepath.Join(p.Partial, criu.ManifestFile), m),
		os.MkdirAll(p.Work, 0o700), os.RemoveAll(filepath.Join(p.Work, criu.DumpedFile)),
	)
	if err != nil {
		return p, errors.Join(err, t.c.abandonCheckpoint(p))
	}
	return p, nil
}

// requireFree refuses a directory for images that has something in it.
func requireFree(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot use the checkpoint's directory: %v: %w", err, errdefs.ErrInvalidArgument)
	case len(entries) > 0:
		return fmt.Errorf("there is something in %s already: %w", path, errdefs.ErrAlreadyExists)
	}
	return nil
}

// dump lets the OCI runtime write the images.
func (t *containerTask) dump(ctx context.Context, m criu.Manifest, p pendingCheckpoint, leaveRunning bool) error {
	d := t.c.d
	var args []string
	for _, name := range m.Streams {
		if name != "" {
			args = append(args, "--external", name)
		}
	}
	return criu.With(ctx, d.tmp(), args, func(ctx context.Context) error {
		err := t.record.Runtime.Checkpoint(ctx, t.c.id, t.init.dir, m.Options(p.Partial, p.Work), leaveRunning)
		if err != nil {
			return criu.Explain(err, filepath.Join(p.Work, "dump.log"))
		}
		return nil
	})
}

// completeCheckpoint gives complete images their place.
func (c *container) completeCheckpoint(p pendingCheckpoint) error {
	d := c.d
	err := criu.DropPipeData(p.Partial, func(id uint32) bool { return slices.Contains(p.Outputs, id) })
	if err != nil {
		d.log.WithError(err).WithField("container",
			c.id).Error("cannot remove unread output from a checkpoint; a restore will write that output a second time")
	}
	if err := unix.Rename(p.Partial, p.Target); err != nil { // os.Rename doesn't replace an empty directory
		return errors.Join(fmt.Errorf("cannot give the checkpoint its place: %w", err), c.abandonCheckpoint(p))
	}
	return c.endCheckpoint(p)
}

// abandonCheckpoint removes what there is of a checkpoint.
func (c *container) abandonCheckpoint(p pendingCheckpoint) error {
	return errors.Join(os.RemoveAll(p.Partial), c.endCheckpoint(p))
}

func (c *container) endCheckpoint(p pendingCheckpoint) error {
	var errs []error
	if filepath.Dir(p.Work) == filepath.Join(c.dir, "init") {
		errs = append(errs, os.RemoveAll(p.Work))
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(c.dir, checkpointFile)))...)
}

// loadCheckpoint ends a checkpoint that an earlier daemon had begun: a complete one is kept, since its task may be
// over because of it.
func (c *container) loadCheckpoint() error {
	var p pendingCheckpoint
	err := statefile.ReadJSON(filepath.Join(c.dir, checkpointFile), &p)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if statefile.Exists(p.Partial) && statefile.Exists(filepath.Join(p.Work, criu.DumpedFile)) {
		return c.completeCheckpoint(p)
	}
	return c.abandonCheckpoint(p)
}

// Checkpoint writes the processes of an init process's task to opts.ImagePath, a directory that doesn't exist yet or
// is empty. With opts.Exit they end then, and their exit is published when it returns. After an error the task goes
// on and nothing is left of the checkpoint.
func (p *Process) Checkpoint(ctx context.Context, opts *options.CheckpointOptions) error {
	return p.task.c.change(ctx, func(ctx context.Context) error { return p.task.checkpoint(ctx, opts) })
}
