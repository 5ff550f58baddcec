// Package files reads and writes archives inside a container's root: what "docker cp" does.
//
// A Root is what a container's files look like: its root filesystem with its bind mounts, in a mount namespace that
// nothing else is in. Whatever works on the files does so in a thread of its own, which is in that namespace. The
// host's files are not there. So no symlink, no name in an archive and nothing that a running container does meanwhile
// leads out. The devices of the container cannot be opened there, and nothing can be executed.
//
// The namespace, and all that is mounted in it, is gone when the Root is closed or when the process ends, however it
// ends. An overlay that was mounted for a Root of a process that was killed needs overlays.RemoveMark.
package files

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/overlays"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/ownthread"
)

// Config says what a Root shows.
type Config struct {
	// Dir is a directory of the host. The root filesystem is mounted there in the Root's own namespace only: outside of
	// the namespace the directory does not change.
	Dir string
	// Rootfs are the mounts of the container's root filesystem.
	Rootfs []mount.Mount
	// Mounts are the container's mounts in the order in which they are made. Only bind mounts count: as at dockerd, a
	// tmpfs of the container is not there, and its place has what the root filesystem has.
	Mounts []specs.Mount
	// ReadOnly makes the root filesystem read-only.
	ReadOnly bool
	// MountedOnly opens the root filesystem only if it is mounted on the host already, as that of a running container
	// is. Else Open returns ErrNotMounted.
	MountedOnly bool
}

// ErrNotMounted tells that a root filesystem is not mounted on the host.
var ErrNotMounted = errors.New("the root filesystem is not mounted")

// Root is a container's files. Its methods may be called from any goroutine, until Close.
type Root struct {
	config Config
	// namespace is the mount namespace that has the files. Its root directory is the container's. host is the
	// namespace of the process.
	namespace, host *os.File
	// workdir is that of the overlay which was mounted for the Root; empty for none.
	workdir string
}

// Open makes a Root, which the caller closes.
func Open(c Config) (*Root, error) {
	r := &Root{config: c}
	if err := ownthread.Run(r.build); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close ends the Root. What was mounted for it is unmounted when Close returns: no thread is in the namespace any more.
func (r *Root) Close() error {
	var errs []error
	for _, f := range []*os.File{r.namespace, r.host} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if r.workdir != "" {
		errs = append(errs, overlays.RemoveMark(r.workdir))
	}
	return errors.Join(errs...)
}

// inside runs fn on a thread that has the container's root as its root and working directory. Modes are not masked
// there. fn must not start a goroutine that looks at files.
func (r *Root) inside(fn func() error) error {
	return ownthread.Run(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("cannot enter the container's files: %w", os.NewSyscallError("unshare", err))
		}
		if err := unix.Setns(int(r.namespace.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("cannot enter the container's files: %w", os.NewSyscallError("setns", err))
		}
		unix.Umask(0)
		err := fn()
		return errors.Join(err, r.leave())
	})
}

// leave takes the thread out of the namespace, so that the last Close unmounts, and does not wait for the thread's end.
func (r *Root) leave() error {
	return os.NewSyscallError("setns", unix.Setns(int(r.host.Fd()), unix.CLONE_NEWNS))
}

// build makes the namespace, on a thread of its own.
func (r *Root) build() error {
	var err error
	if r.host, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if r.namespace, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return err
	}
	err = r.assemble()
	return errors.Join(err, r.leave())
}

// assemble mounts the container's files, and makes them the root of the thread's namespace.
func (r *Root) assemble() error {
	// Nothing that is mounted here shows on the host. What the host unmounts meanwhile is not held here.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return mountError("make mounts slaves", "/", err)
	}
	binds, err := cloneBinds(r.config.Mounts)
	defer binds.close()
	if err != nil {
		return err
	}
	if err := r.mountRoot(); err != nil {
		return err
	}
	if err := confine(unix.AT_FDCWD, r.config.Dir, unix.AT_RECURSIVE); err != nil {
		return mountError("confine", r.config.Dir, err)
	}
	if err := changeRoot(r.config.Dir); err != nil {
		return err
	}
	if err := binds.attach(); err != nil {
		return err
	}
	if !r.config.ReadOnly {
		return nil
	}
	return mountError("make read-only", "/", unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY,
	}))
}

// confine makes what is mounted at a path private to the namespace. No device can be opened there: the container may
// have put one into the place of a file, and to open some is enough to do harm.
func confine(dir int, path string, flags uint) error {
	return unix.MountSetattr(dir, path, flags, &unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC,
		Propagation: unix.MS_PRIVATE,
	})
}

// changeRoot makes a mount point the root of the thread's namespace, and takes all other mounts out of the namespace.
func changeRoot(dir string) error {
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return mountError("open", "/", err)
	}
	defer unix.Close(old)
	if err := unix.Chdir(dir); err != nil {
		return mountError("chdir", dir, err)
	}
	// pivot_root(2): with the same directory twice, the old root is mounted on the new one.
	if err := unix.PivotRoot(".", "."); err != nil {
		return mountError("pivot_root", dir, err)
	}
	if err := unix.Fchdir(old); err != nil {
		return mountError("chdir to the old root below", dir, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return mountError("unmount the old root below", dir, err)
	}
	return mountError("chdir", "/", unix.Chdir("/"))
}

// mountError says which step failed. The container's files are not to blame: the error is not one of a missing file.
func mountError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot show the container's files: %s %s: %v", op, path, err)
}
