package core

import (
	"errors"
	"os"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// unmountFlags detach a mount and what is mounted below it, in use or not.
const unmountFlags = unix.MNT_DETACH | unix.UMOUNT_NOFOLLOW

// unmountAll unmounts a root filesystem. The table of mounts is read only where something is mounted below a
// directory of its own: it is long where many containers run. A directory that isn't there is no error.
func unmountAll(dir string) error {
	for {
		err := unix.Unmount(dir, unmountFlags)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // no mount, or no more of them
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "unmount", Path: dir, Err: err}
		}
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	return mount.UnmountRecursive(dir, unmountFlags)
}
