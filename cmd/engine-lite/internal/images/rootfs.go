package images

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// gcRootLabel keeps a snapshot from being collected.
const gcRootLabel = "containerd.io/gc.root"

// PrepareRootfs makes the container's writable layer on top of the image and returns
// the mounts of the root file system. A second call returns the same layer. The layer,
// with the layers below it, stays until RemoveRootfs, even if the image is removed. The
// image is unpacked first if necessary. The error is NotFound if the image was removed
// meanwhile.
func (s *Store) PrepareRootfs(ctx context.Context, containerID string, img Image) ([]mount.Mount, error) {
	key, err := rootfsKey(containerID)
	if err != nil {
		return nil, err
	}
	mounts, err := s.snapshot(s.scope(ctx), key, img, s.snapshots.Prepare)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare root file system of container %q: %w", containerID, err)
	}
	return mounts, nil
}

// makeSnapshot is Prepare or View of a snapshotter.
type makeSnapshot func(ctx context.Context, key, parent string, o ...snapshots.Opt) ([]mount.Mount, error)

// snapshot makes a snapshot on top of an image, which is unpacked first if necessary. A snapshot that is there is
// returned. It stays until it is removed.
func (s *Store) snapshot(ctx context.Context, key string, img Image, create makeSnapshot) ([]mount.Mount, error) {
	mounts, err := s.makeSnapshot(ctx, key, img, create)
	if errdefs.IsNotFound(err) {
		return s.unpackAndMake(ctx, key, img, create)
	}
	return mounts, err
}

func (s *Store) makeSnapshot(ctx context.Context, key string, img Image, create makeSnapshot) ([]mount.Mount, error) {
	root := snapshots.WithLabels(map[string]string{gcRootLabel: time.Now().UTC().Format(time.RFC3339)})
	mounts, err := create(ctx, key, img.ChainID.String(), root)
	if errdefs.IsAlreadyExists(err) {
		return s.snapshots.Mounts(ctx, key)
	}
	return mounts, err
}

func (s *Store) unpackAndMake(ctx context.Context, key string, img Image, create makeSnapshot) ([]mount.Mount, error) {
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := s.content.Info(ctx, img.ID); err != nil {
		return nil, fmt.Errorf("image %s is gone: %w", img.ID, err)
	}
	if err := s.unpack(ctx, &img); err != nil {
		return nil, err
	}
	return s.makeSnapshot(ctx, key, img, create)
}

// Mounts returns the mounts of the container's root file system; NotFound if it has
// none.
func (s *Store) Mounts(ctx context.Context, containerID string) ([]mount.Mount, error) {
	key, err := rootfsKey(containerID)
	if err != nil {
		return nil, err
	}
	mounts, err := s.snapshots.Mounts(s.scope(ctx), key)
	if err != nil {
		return nil, fmt.Errorf("cannot find root file system of container %q: %w", containerID, err)
	}
	return mounts, nil
}

// RemoveRootfs removes the container's writable layer, and its views of images. The caller has unmounted all of them.
// The files are removed in the background. A container without a layer is no error.
func (s *Store) RemoveRootfs(ctx context.Context, containerID string) error {
	key, err := rootfsKey(containerID)
	if err != nil {
		return err
	}
	if err := s.removeViews(ctx, containerID); err != nil {
		return err
	}
	err = s.snapshots.Remove(s.scope(ctx), key)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove root file system of container %q: %w", containerID, err)
	}
	s.collector.request()
	return nil
}

// Usage is how many bytes the container's writable layer takes on the disk, and how many that layer takes together with
// the layers below; NotFound if the container has none. It walks the files of the writable layer: see treesize.Meter.
func (s *Store) Usage(ctx context.Context, containerID string) (written, total int64, err error) {
	key, err := rootfsKey(containerID)
	if err != nil {
		return 0, 0, err
	}
	ctx = s.scope(ctx)
	if written, err = s.written(ctx, key); err == nil {
		total, err = s.below(ctx, key)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cannot measure root file system of container %q: %w", containerID, err)
	}
	return written, written + total, nil
}

// written measures the directory that a container's snapshot has of its own.
func (s *Store) written(ctx context.Context, key string) (int64, error) {
	mounts, err := s.snapshots.Mounts(ctx, key)
	if err != nil {
		return 0, err
	}
	dir, ok := plainDirectory(mounts)
	if !ok {
		dir, ok = upperDirectory(mounts)
	}
	if !ok {
		return 0, classed.Errorf(errdefs.ErrInternal, "no writable directory in %v", mounts)
	}
	return s.meter.Size(ctx, dir)
}

// below is how many bytes the layers below a snapshot take.
func (s *Store) below(ctx context.Context, key string) (int64, error) {
	var sum int64
	for {
		info, err := s.snapshots.Stat(ctx, key)
		if err != nil || info.Parent == "" {
			return sum, err
		}
		n, err := s.layerSize(ctx, digest.Digest(info.Parent))
		if err != nil {
			return 0, err
		}
		sum, key = sum+n, info.Parent
	}
}

// upperDirectory returns the directory that an overlay mount writes to.
func upperDirectory(mounts []mount.Mount) (string, bool) {
	if len(mounts) != 1 {
		return "", false
	}
	for _, option := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
			return dir, true
		}
	}
	return "", false
}

// rootfsKey is the name of a container's snapshot. No layer's snapshot has such a
// name.
func rootfsKey(containerID string) (string, error) {
	if containerID == "" || strings.ContainsAny(containerID, "/\x00") {
		return "", classed.Errorf(errdefs.ErrInvalidArgument, "invalid container id %q", containerID)
	}
	return "container-" + containerID, nil
}
