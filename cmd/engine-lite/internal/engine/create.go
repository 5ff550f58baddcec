package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/request"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/spec"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/users"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/files"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mounts"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mounts/resolve"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/span"
	"github.com/engine-lite/engine-lite/journal"
)

// ContainerCreate makes a container from an image. What a request asks for and
// the engine doesn't have is refused with NotImplemented; what it has only in
// part is in the answer's warnings.
func (e *Engine) ContainerCreate(
	ctx context.Context, name string, req container.CreateRequest, o CreateOptions,
) (container.CreateResponse, error) {
	var none container.CreateResponse
	if req.Config == nil || req.Image == "" {
		return none, classed.Errorf(errdefs.ErrInvalidArgument, "the request names no image")
	}
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
	if err := e.checkReferences(req.HostConfig); err != nil {
		return none, err
	}
	discarded := request.Discard(&req.HostConfig.Resources, e.requestHost())
	warnings, err := request.Check(req, e.requestHost())
	if err != nil {
		return none, err
	}
	// Before the image is looked up: docker's command line pulls one that is missing.
	if err := resolve.Check(request.HostConfig(req.HostConfig).Mounts, mounts.Exists); err != nil {
		return none, err
	}
	if err := e.store.Room(ctx); err != nil {
		return none, err
	}
	if err := e.checkRuntime(req.HostConfig.Runtime); err != nil {
		return none, err
	}
	_, s := span.Start(ctx, "image")
	img, err := e.images.Resolve(ctx, req.Image)
	s.End(err)
	if err != nil {
		return none, err
	}
	if err := checkPlatform(img, o.Platform); err != nil {
		return none, err
	}
	r, err := e.newRecord(req, img)
	if err != nil {
		return none, err
	}
	if err := spec.FillPaths(r.HostConfig); err != nil {
		return none, err
	}
	if err := spec.Check(r); err != nil {
		return none, err
	}
	if err := mounts.Check(r); err != nil {
		return none, err
	}
	if r.Mounts, err = e.resolveMounts(ctx, r, o); err != nil {
		return none, err
	}
	if err := containers.CheckLabels(r); err != nil {
		return none, err
	}
	withheld, err := e.withheld(r)
	if err != nil {
		return none, err
	}
	if err := e.create(ctx, r, name, img); err != nil {
		return none, err
	}
	warnings = slices.Concat(discarded, warnings, withheld)
	return container.CreateResponse{ID: r.ID, Warnings: warnings}, nil
}

// checkReferences refuses containers that are not there, where a request names others. Where a namespace is shared it
// puts the other container's id in place of the name: the sharing holds also after a rename, as in dockerd.
func (e *Engine) checkReferences(h *container.HostConfig) error {
	for _, link := range h.Links {
		name, _, _ := strings.Cut(link, ":")
		if _, err := e.find(name); errdefs.IsNotFound(err) {
			return classed.Errorf(errdefs.ErrInvalidArgument, "could not get container for %s: %v", name, err)
		}
	}
	if err := resolveMode(e, &h.PidMode); err != nil {
		return err
	}
	if err := resolveMode(e, &h.IpcMode); err != nil {
		return err
	}
	return resolveMode(e, &h.NetworkMode)
}

// resolveMode puts the id of the container that a mode names in place of what the user called the container.
func resolveMode[M ~string](e *Engine, mode *M) error {
	name, ok := strings.CutPrefix(string(*mode), record.OfContainer)
	if !ok || name == "" { // without a name it is no mode, see request.Check
		return nil
	}
	o, err := e.find(name)
	if err != nil {
		return classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	*mode = M(record.OfContainer + o.ID)
	return nil
}

func checkPlatform(img images.Image, platform string) error {
	if platform == "" {
		return nil
	}
	want, err := platforms.Parse(platform)
	if err != nil {
		return classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	if want.OS != img.Config.OS || want.Architecture != img.Config.Architecture {
		return classed.Errorf(errdefs.ErrNotFound, "image %s is for %s/%s, not for %s", img.ID, img.Config.OS, img.Config.Architecture, platform)
	}
	return nil
}

// withheld returns what the host keeps a container from having. containerd's runtimes refuse to start what runtimed
// starts with lower limits.
func (e *Engine) withheld(r *record.Record) ([]string, error) {
	list, err := spec.WithoutEffect(r)
	if err != nil || e.opts.Shims {
		return list, err
	}
	limits, err := spec.Withheld(r)
	return append(list, limits...), err
}

// create writes down the container and prepares its root filesystem. The record
// comes first, so that each thing that is left has a record. The record is undone
// where a later step fails.
func (e *Engine) create(ctx context.Context, r *record.Record, name string, img images.Image) error {
	o := e.newTask(r)
	if err := e.writeCreated(ctx, o, r, name); err != nil {
		return err
	}
	ctx, free := e.background.Outlive(ctx)
	defer free()
	err := e.furnish(ctx, r, img)
	if err == nil {
		_, _, err = o.Commit(ctx, containers.Change{
			Mutate: func(r *record.Record) error { r.Status = record.StatusCreated; r.RemoveVolumes = false; return nil }, Action: "create",
		})
	}
	if err == nil {
		return nil
	}
	if undo := e.forget(ctx, o); undo != nil {
		err = fmt.Errorf("%w (and it could not be undone: %w)", err, undo)
	}
	return err
}

// writeCreated commits the intent: a record in removing state that the boot
// sweeps, with its name.
func (e *Engine) writeCreated(ctx context.Context, o *task, r *record.Record, name string) error {
	if name != "" {
		if name = strings.TrimPrefix(name, "/"); name == "" {
			name = "/" // which is no name
		}
		if err := containers.CheckName(name); err != nil {
			return err
		}
	}
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if r.Name, err = freeName(tx, name); err != nil {
			return err
		}
		r.Status, r.RemoveVolumes = record.StatusRemoving, true // undone as a whole if it fails
		if err := e.resources.Reserve(tx, r); err != nil {
			return err
		}
		return errors.Join(record.Names.Put(tx, r.Name, r.ID), r.Put(tx))
	})
	if err == nil {
		e.register(o, r.Name)
	}
	return err
}

// freeName checks that a name is free, or finds one.
func freeName(tx journal.Reader, name string) (string, error) {
	if name != "" {
		if id, taken := tx.Get(record.Names.Name, name); taken {
			return "", classed.Errorf(errdefs.ErrConflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, id)
		}
		return name, nil
	}
	for range 100 {
		name := containers.RandomName()
		if _, taken := tx.Get(record.Names.Name, name); !taken {
			return name, nil
		}
	}
	return "", classed.Errorf(errdefs.ErrUnavailable, "no free name was found")
}

// furnish makes what the record promises: directory and root filesystem.
func (e *Engine) furnish(ctx context.Context, r *record.Record, img images.Image) error {
	if err := os.MkdirAll(e.containerDir(r.ID), 0o710); err != nil {
		return fmt.Errorf("container directory: %w", err)
	}
	_, s := span.Start(ctx, "snapshot")
	rootfs, err := e.images.PrepareRootfs(ctx, r.ID, img)
	s.End(err)
	if err != nil {
		return fmt.Errorf("root filesystem of %s: %w", r.ImageName, err)
	}
	if err := e.makeWorkingDir(r, rootfs); err != nil {
		return err
	}
	if err := e.imageMounts.Prepare(ctx, r); err != nil {
		return err
	}
	return e.volumes.Fill(ctx, r, rootfs)
}

// makeWorkingDir makes the working directory that the image lacks. The root filesystem is mounted for that, and only then.
func (e *Engine) makeWorkingDir(r *record.Record, rootfs []mount.Mount) (err error) {
	dir := r.Config.WorkingDir
	if dir == "" || dir == "/" {
		return nil
	}
	if there, err := users.IsDirectory(users.Layers(rootfs), dir); err != nil || there {
		return err
	}
	root, err := files.Open(files.Config{Dir: e.containerDir(r.ID), Rootfs: rootfs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return root.MakeDirectory(dir)
}

// newRecord joins what was asked for with what the image says.
func (e *Engine) newRecord(req container.CreateRequest, img images.Image) (*record.Record, error) {
	hexID := randomID()
	config, hostConfig, err := request.Create(req, img.Config.Config, hexID[:12], e.requestHost())
	if err != nil {
		return nil, err
	}
	argv := slices.Concat(config.Entrypoint, config.Cmd)
	return &record.Record{
		ID: hexID, Created: time.Now().UTC(),
		Config: config, HostConfig: hostConfig,
		Path: argv[0], Args: argv[1:],
		Image: img.ID.String(), ImageName: req.Image, ImageManifest: request.ImageManifest(img.Manifest, img.Config.Platform),
	}, nil
}

// resolveMounts returns what is to be mounted into a new container.
func (e *Engine) resolveMounts(ctx context.Context, r *record.Record, o CreateOptions) ([]record.Mount, error) {
	return resolve.Mounts(r.HostConfig, r.Config.Volumes, resolve.Host{
		Own: e.ownDirs(), Exists: mounts.Exists, ReadOnlyNonRecursive: o.ReadOnlyNonRecursive,
		Mounts: func(ref string) ([]record.Mount, error) {
			donor, err := e.find(ref)
			if err != nil {
				return nil, classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
			}
			r := donor.Record()
			return r.Mounts, r.CheckReadable()
		},
		Image: func(ref string) (string, error) {
			img, err := e.images.Resolve(ctx, ref)
			return img.ID.String(), err
		},
		NewName: randomID,
	})
}

// ownDirs are the directories in which the engine mounts, with and without symbolic links in their paths.
func (e *Engine) ownDirs() []string {
	var list []string
	for _, dir := range []string{e.opts.Root, e.opts.Run} {
		if real, err := filepath.EvalSymlinks(dir); err == nil && dir != "" {
			list = append(list, dir, real)
		}
	}
	return list
}

// mountSource is the path of the host where a mount's volume is, or the id of a mount's image.
func (e *Engine) mountSource(m record.Mount) string {
	if m.Type == record.MountVolume {
		return e.volumes.Mountpoint(m.Name)
	}
	return m.Source
}

// randomID makes the id of a container, or the name of an anonymous volume.
func randomID() string {
	id := make([]byte, 32)
	_, _ = rand.Read(id) // never fails, see crypto/rand
	return hex.EncodeToString(id)
}

// requestHost is what the meaning of a user's request depends on.
func (e *Engine) requestHost() request.Host {
	return request.Host{
		ControlGroups2: host.CgroupVersion() == "2", BlockIO: request.BlockIO(host.BlockIOLimits()), Name: os.Hostname,
	}
}
