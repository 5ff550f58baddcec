package images

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/changes"
)

// Changes lists what a container has changed in the files of its image, in the order of the paths. It reads the
// container's files as they are. The error is NotFound where the container has no root file system.
func (s *Store) Changes(ctx context.Context, containerID string) ([]container.FilesystemChange, error) {
	source, release, err := s.source(ctx, containerID)
	if err != nil {
		return nil, err
	}
	defer release()
	return changes.List(ctx, source)
}

// Export writes all files of a container to w, as a tar. It reads the container's files as they are. The error is NotFound
// where the container has no root file system; then nothing is written.
func (s *Store) Export(ctx context.Context, containerID string, w io.Writer) error {
	mounts, err := s.Mounts(ctx, containerID)
	if err != nil {
		return err
	}
	return changes.Export(ctx, w, mounts)
}

// source returns where the files of a container and of its image are. Those of the image stay until release, or as long
// as the container.
func (s *Store) source(ctx context.Context, containerID string) (source changes.Source, release func(), err error) {
	if source.Container, err = s.Mounts(ctx, containerID); err != nil {
		return source, nil, err
	}
	if lower, ok := changes.Lower(source.Container); ok {
		source.Image = lower
		return source, func() {}, nil
	}
	ctx, release, err = s.hold(ctx)
	if err != nil {
		return source, nil, err
	}
	if source.Image, err = s.imageMounts(ctx, containerID); err != nil {
		release()
		return source, nil, fmt.Errorf("cannot find the image of container %q: %w", containerID, err)
	}
	return source, release, nil
}

// imageMounts makes a view of the layers below a container's. A collection removes the view once the lease in ctx is gone.
func (s *Store) imageMounts(ctx context.Context, containerID string) ([]mount.Mount, error) {
	key, err := rootfsKey(containerID)
	if err != nil {
		return nil, err
	}
	info, err := s.snapshots.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	lease, _ := leases.FromContext(ctx)
	return s.snapshots.View(ctx, "view-"+lease, info.Parent)
}
