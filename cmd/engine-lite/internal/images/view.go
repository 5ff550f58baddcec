package images

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
)

// PrepareView has a container see the files of an image, which nobody can change. A container numbers its views from 0
// on. A view, with the layers below it, stays until RemoveRootfs, even if the image is removed. The image is unpacked
// first if necessary. The error is NotFound if the image was removed meanwhile.
func (s *Store) PrepareView(ctx context.Context, containerID string, n int, imageID string) error {
	key, err := viewKey(containerID, n)
	if err != nil {
		return err
	}
	img, err := s.Resolve(ctx, imageID)
	if err != nil {
		return err
	}
	if _, err := s.snapshot(s.scope(ctx), key, img, s.snapshots.View); err != nil {
		return fmt.Errorf("cannot prepare image %s for container %q: %w", imageID, containerID, err)
	}
	return nil
}

// ViewMounts returns the mounts of a view; NotFound if the container has none of that number.
func (s *Store) ViewMounts(ctx context.Context, containerID string, n int) ([]mount.Mount, error) {
	key, err := viewKey(containerID, n)
	if err != nil {
		return nil, err
	}
	mounts, err := s.snapshots.Mounts(s.scope(ctx), key)
	if err != nil {
		return nil, fmt.Errorf("cannot find image %d of container %q: %w", n, containerID, err)
	}
	return mounts, nil
}

// removeViews removes all views of a container, the last one first: a removal that is cut off leaves no gap, and the
// next one finds the rest.
func (s *Store) removeViews(ctx context.Context, containerID string) error {
	ctx = s.scope(ctx)
	var keys []string
	for n := 0; ; n++ {
		key, err := viewKey(containerID, n)
		if err != nil {
			return err
		}
		if _, err := s.snapshots.Stat(ctx, key); errdefs.IsNotFound(err) {
			break
		} else if err != nil {
			return fmt.Errorf("cannot find image %d of container %q: %w", n, containerID, err)
		}
		keys = append(keys, key)
	}
	for n := len(keys) - 1; n >= 0; n-- {
		if err := s.snapshots.Remove(ctx, keys[n]); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("cannot remove image %d of container %q: %w", n, containerID, err)
		}
	}
	return nil
}

// viewKey is the name of a view's snapshot. No container's layer has such a name, nor has a layer of an image.
func viewKey(containerID string, n int) (string, error) {
	key, err := rootfsKey(containerID)
	return fmt.Sprintf("view-%d-of-%s", n, key), err
}
