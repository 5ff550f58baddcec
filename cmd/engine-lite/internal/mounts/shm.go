package mounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// hostShm is the host's shared memory, and where containers have theirs.
const hostShm = "/dev/shm"

// shmDir is where a container's /dev/shm is mounted on the host while the container runs, in the container's directory,
// if other containers can share it. Each container that shares it has a mount of its own there.
func shmDir(dir string) string { return filepath.Join(dir, "shm") }

// MountShm mounts the shared memory of a container's next run, of this size in bytes, in place of what an earlier run
// may have left there. UnmountShm ends it.
func MountShm(dir string, size int64) error {
	return mountShm(dir, "shm", "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", size))
}

// ShareShm mounts the shared memory of another container, the donor, as that of a container's next run. It returns false if
// the donor has none to share. UnmountShm ends it, also after an error.
func ShareShm(dir, donorDir string, donor *record.HostConfig) (bool, error) {
	if donor.IpcMode.IsHost() {
		return true, mountShm(dir, hostShm, "", unix.MS_BIND, "")
	}
	err := mountShm(dir, shmDir(donorDir), "", unix.MS_BIND, "")
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// A tmpfs has a device number of its own. A directory without a mount has that of the directory around it.
	var at, around unix.Stat_t
	if err := errors.Join(unix.Stat(shmDir(dir), &at), unix.Stat(dir, &around)); err != nil {
		return false, fmt.Errorf("shared memory of the container: %w", err)
	}
	return at.Dev != around.Dev, nil
}

func mountShm(dir, source, kind string, flags uintptr, options string) error {
	if err := UnmountShm(dir); err != nil {
		return err
	}
	at := shmDir(dir)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return fmt.Errorf("shared memory of the container: %w", err)
	}
	if err := unix.Mount(source, at, kind, flags, options); err != nil {
		return fmt.Errorf("shared memory of the container: %w", &os.PathError{Op: "mount", Path: at, Err: err})
	}
	return nil
}

// UnmountShm takes away what is mounted for a container's shared memory; nothing is no error. The container doesn't
// run. Other containers that share the memory keep it: they have mounts of their own.
func UnmountShm(dir string) error {
	for at := shmDir(dir); ; {
		switch err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); {
		case err == nil: // there may be another below it
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL): // no mount point, see umount(2)
			return nil
		default:
			return fmt.Errorf("shared memory of the container: %w", &os.PathError{Op: "unmount", Path: at, Err: err})
		}
	}
}
