package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
)

const (
	overlayfs    = "overlayfs"
	nativeCopies = "native"
)

// openSnapshotter opens the snapshotter of this name under root, or for an
// empty name the best one that works there.
func (s *Store) openSnapshotter(root, name string) error {
	if name == "" {
		name = s.chooseSnapshotter(root)
	}
	dir := filepath.Join(root, "snapshots", name)
	var err error
	switch name {
	case overlayfs:
		s.backend, err = s.openOverlay(dir)
	case nativeCopies:
		s.backend, err = native.NewSnapshotter(dir)
	default:
		return classed.Errorf(errdefs.ErrInvalidArgument, "unknown snapshotter %q", name)
	}
	if err != nil {
		return fmt.Errorf("cannot open snapshotter %s: %w", name, err)
	}
	s.snapshotter = name
	return nil
}

// chooseSnapshotter tries an overlay mount under root, and falls back to native with a
// warning: native copies every layer whole.
//
// A root keeps the snapshotter that was chosen first. The other one would have none of
// the layers, and the try also fails on a full disk.
func (s *Store) chooseSnapshotter(root string) string {
	dir := filepath.Join(root, "snapshots")
	for _, name := range []string{overlayfs, nativeCopies} {
		if _, err := os.Stat(snapshotsDatabase(root, name)); err == nil {
			return name
		}
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = errors.Join(sweepChecks(dir), overlayutils.Supported(dir))
	}
	if err != nil {
		s.log.WithError(err).
			Warn("overlayfs doesn't work under the image root; using the native snapshotter, which copies layers")
		return nativeCopies
	}
	return overlayfs
}

// sweepChecks removes the directory, and the mount in it, of a check for overlayfs that
// was killed in its middle.
func sweepChecks(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "multiple-lowerdir-check*"))
	if err != nil {
		return err
	}
	for _, check := range left {
		err := unix.Unmount(filepath.Join(check, "merged"), unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // not mounted, not made
			return fmt.Errorf("unmount leftover of a check for overlayfs: %w", err)
		}
		if err := os.RemoveAll(check); err != nil {
			return fmt.Errorf("remove leftover of a check for overlayfs: %w", err)
		}
	}
	return nil
}
