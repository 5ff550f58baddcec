package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/checkpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/process"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/users"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mounts"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/internal/await"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ContainerStart runs a container. NotModified where it runs already.
func (e *Engine) ContainerStart(ctx context.Context, ref string) error {
	return e.start(ctx, ref, "", "")
}

// ContainerRestore runs a container from a checkpoint in a directory; empty for the container's own. Errors: as of
// ContainerStart, NotFound for a checkpoint, and InvalidArgument without [Options.Experimental].
func (e *Engine) ContainerRestore(ctx context.Context, ref, dir, checkpoint string) error {
	if err := checkpoints.CheckID(checkpoint); err != nil {
		return err
	}
	if !e.opts.Experimental {
		return classed.Errorf(errdefs.ErrInvalidArgument, "checkpoint is only supported in experimental mode")
	}
	return e.start(ctx, ref, dir, checkpoint)
}

func (e *Engine) start(ctx context.Context, ref, dir, checkpoint string) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	from := ""
	if checkpoint != "" {
		if from, err = e.Path(o.ID, dir, checkpoint); err != nil {
			return err
		}
	}
	if err := o.Lock(ctx); err != nil {
		return err
	}
	defer o.Unlock()
	if err := e.store.Room(ctx); err != nil {
		return err
	}
	return e.startByUser(ctx, o, from)
}

// startLocked starts the container, from the checkpoint in a directory if that isn't empty. The caller has its operation
// lock. A start that has begun isn't ended by its caller's going.
func (e *Engine) startLocked(ctx context.Context, o *task, from string) error {
	r := o.Record()
	if err := r.CheckReadable(); err != nil {
		return err
	}
	switch r.Status {
	case record.StatusRunning:
		return classed.Errorf(errdefs.ErrNotModified, "container %s is already running", r.Name)
	case record.StatusPaused:
		return classed.Errorf(errdefs.ErrConflict, "cannot start a paused container, try unpause instead")
	case record.StatusRemoving:
		return classed.Errorf(errdefs.ErrConflict, "container %s is marked for removal and cannot be started", r.Name)
	case record.StatusCreated, record.StatusExited, record.StatusRestarting, record.StatusDead:
	}
	if err := e.cleaned(ctx, o); err != nil {
		return err
	}
	ctx, free := e.background.Outlive(ctx)
	defer free()
	err := o.endCopies(ctx, startGrace)
	if err == nil {
		err = e.run(ctx, o, r, from)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.Is(err, libcontainerd.ErrNotTaken):
		return classed.Errorf(errdefs.ErrUnavailable, "the engine is going down; the next one cleans up after the start of container %s: %v", r.Name, err)
	}
	return e.startFailed(ctx, o, err)
}

// run makes the container's task. Its start is in the journal then: the client waits for Started.
func (e *Engine) run(ctx context.Context, o *task, r *record.Record, from string) error {
	j, err := e.join(r)
	if err != nil {
		return err
	}
	defer j.close()
	if _, err := e.logOf(r); err != nil {
		return fmt.Errorf("failed to create task for container: failed to initialize logging driver: %w", err)
	}
	holder := resources.Run(r.ID, r.Generation+1)
	taken, err := e.resources.Acquire(ctx, r, holder)
	if err != nil {
		return err
	}
	err = e.runWith(ctx, o, r, resources.Contribution{
		Sources: taken.Sources, Namespaces: slices.Concat(j.namespaces, taken.Namespaces),
	}, from)
	if err == nil || errors.Is(err, libcontainerd.ErrNotTaken) { // then the container runs
		return err
	}
	e.giveBack(ctx, holder)
	return err
}

// runWith makes the container's task, with what the container has taken.
func (e *Engine) runWith(ctx context.Context, o *task, r *record.Record, taken resources.Contribution, from string) error {
	ctr, err := e.prepare(ctx, r, taken)
	if err != nil {
		return err
	}
	l, err := e.runIO(ctx, o)
	if err != nil {
		return errors.Join(err, ctr.Delete(ctx, libcontainerd.DeleteOptions{}))
	}
	o.Change(func() { o.Task, o.generation, o.cleanup = ctr, r.Generation+1, make(chan struct{}) })
	_, err = ctr.Start(ctx, libcontainerd.StartOptions{
		Checkpoint: from, Stdio: libcontainerd.StdioConfig{Terminal: l.Terminal, Stdin: l.Stdin},
	})
	if errors.Is(err, libcontainerd.ErrNotTaken) {
		return err // the container runs
	}
	if err != nil {
		o.Change(func() { o.Task, o.cleanup = nil, nil })
		if undo := ctr.Delete(ctx, libcontainerd.DeleteOptions{}); undo != nil {
			log.WithError(undo).WithField("container", o.ID).Warn(
				"cannot delete a container at the runtime daemon after a failed start; " +
					"trying again when the container is started or removed")
		}
		return err
	}
	return nil
}

// prepare makes what a start needs: files, spec, and the container's record at
// the runtime daemon.
func (e *Engine) prepare(ctx context.Context, r *record.Record, taken resources.Contribution) (*libcontainerd.Container, error) {
	options := libcontainerd.CreateOptions{Labels: map[string]string{"engine-lite/name": r.Name}}
	if err := e.chooseRuntime(&options, r.HostConfig.Runtime); err != nil {
		return nil, err
	}
	_, s := span.Start(ctx, "mounts")
	rootfs, err := e.images.Mounts(ctx, r.ID)
	s.End(err)
	if err != nil {
		return nil, fmt.Errorf("root filesystem: %w", err)
	}
	options.Rootfs = mountsOf(rootfs)
	_, s = span.Start(ctx, "spec")
	runSpec, err := e.furnishRun(ctx, r, rootfs, taken)
	s.End(err)
	if err != nil {
		return nil, err
	}
	return e.client.Create(ctx, r.ID, runSpec, options)
}

// furnishRun writes the files of a run, and makes its spec.
func (e *Engine) furnishRun(
	ctx context.Context, r *record.Record, rootfs []mount.Mount, taken resources.Contribution,
) (*specs.Spec, error) {
	dir := e.containerDir(r.ID)
	if err := mounts.WriteEtc(dir, r); err != nil {
		return nil, err
	}
	user, err := users.Resolve(users.Layers(rootfs), r.Config.User, r.HostConfig.GroupAdd)
	if err != nil {
		return nil, err
	}
	list, propagation, err := mounts.List(r, mounts.Place{
		Dir: dir, Own: e.ownDirs(), RecursiveReadOnly: mounts.RecursiveReadOnly(e.runtimeProgram(r.HostConfig.Runtime)),
		Sources: taken.Sources,
	})
	if err != nil {
		return nil, err
	}
	s, err := spec.Build(ctx, r, user, list, taken.Namespaces)
	if err == nil {
		s.Linux.RootfsPropagation = propagation
	}
	return s, err
}

func mountsOf(rootfs []mount.Mount) []libcontainerd.Mount {
	list := make([]libcontainerd.Mount, len(rootfs))
	for i, m := range rootfs {
		list[i] = libcontainerd.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options}
	}
	return list
}

// startFailed records why a start failed, tells attached clients that nothing
// comes, and gives the error the class and words that clients know.
func (e *Engine) startFailed(ctx context.Context, o *task, cause error) error {
	code, text, class := process.StartFailure(cause)
	if err := o.endIO(); err != nil {
		log.WithError(err).WithField("container", o.ID).Warn(
			"cannot close the streams of a container whose start failed")
	}
	if err := e.unshare(o.ID); err != nil {
		log.WithError(err).WithField("container", o.ID).Warn(
			"cannot unmount the shared memory of a container whose start failed; " +
				"trying again when the container is started or removed")
	}
	refused := classed.Errorf(class, "%s", text)
	r, _, err := o.Commit(ctx, containers.Change{
		Mutate: func(r *record.Record) error {
			byPolicy := r.Status == record.StatusRestarting
			r.Generation++
			r.SetExited(code, "", false, time.Now())
			r.Error, r.RestartAt = text, time.Time{}
			if byPolicy {
				r.PlanRestart(0, r.FinishedAt)
			}
			return nil
		},
		Action: "die", Attributes: (*record.Record).DieAttributes,
	})
	if err != nil {
		return errors.Join(refused, err)
	}
	o.Change(func() { o.AnnounceLocked(r) })
	e.awaitRestart(o)
	if r.HostConfig.AutoRemove {
		if err := e.insist(o, e.removeLocked(ctx, o, true)); err != nil {
			return errors.Join(refused, err)
		}
	}
	return refused
}

// cleaned waits until nothing of an earlier run is left at the runtime daemon.
// Where the clean-up failed it is tried again. The container doesn't run, and
// the caller has its operation lock.
func (e *Engine) cleaned(ctx context.Context, o *task) error {
	o.LockState()
	cleanup := o.cleanup
	o.UnlockState()
	if cleanup != nil {
		if await.Closed(ctx, cleanup) != nil {
			return ctx.Err()
		}
	}
	ctr, err := e.client.Get(o.ID)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err == nil {
		err = ctr.Delete(ctx, libcontainerd.DeleteOptions{})
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("clean up after the last run: %w", err)
	}
	return nil
}
