package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
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
		s.backend, err = overlay.NewSnapshotter(dir, overlay.AsynchronousRemove)
	case nativeCopies:
		s.backend, err = native.NewSnapshotter(dir)
	default:
		return fmt.Errorf("unknown snapshotter %q: %w", name, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return fmt.Errorf("cannot open snapshotter %s: %w", name, err)
	}
	s.snapshotter = name
	return nil
}

// chooseSnapshotter tries an overlay mount under root. Native copies every
// layer whole, so falling back to it is worth a warning.
//
// What was chosen once stays: the other one has none of the layers, and the try
// fails on a full disk too.
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
		s.log.WithError(err).Warn("overlayfs doesn't work here, layers will be copied")
		return nativeCopies
	}
	return overlayfs
}

// sweepChecks removes what the check for overlayfs has left that was killed in its
// middle: a directory, and maybe a mount in it.
func sweepChecks(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "multiple-lowerdir-check*"))
	if err != nil {
		return err
	}
	for _, check := range left {
		err := unix.Unmount(filepath.Join(check, "merged"), unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // not mounted, not made
			return fmt.Errorf("unmount what a check for overlayfs left: %w", err)
		}
		if err := os.RemoveAll(check); err != nil {
			return fmt.Errorf("remove what a check for overlayfs left: %w", err)
		}
	}
	return nil
}
