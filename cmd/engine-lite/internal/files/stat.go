package files

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Stat describes what is at a path, as dockerd does: the last link of the path is not followed, unless a slash is
// behind it. LinkTarget is then where the link leads to, through all further links. Errors: os.ErrNotExist.
func (r *Root) Stat(path string) (s container.PathStat, err error) {
	err = r.inside(func() error {
		s, err = stat(path)
		return err
	})
	return s, err
}

func stat(path string) (container.PathStat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return container.PathStat{}, err
	}
	s := container.PathStat{Name: filepath.Base(path), Size: info.Size(), Mode: info.Mode(), Mtime: info.ModTime()}
	if info.Mode()&os.ModeSymlink != 0 {
		if s.LinkTarget, err = fs.RootPath("/", path); err != nil {
			return container.PathStat{}, err
		}
	}
	return s, nil
}

// MakeDirectory makes a directory at a path, and those above it, where they are missing; all with mode 0755. Links are
// followed as a process in the container would follow them. The error is InvalidArgument if something else is there.
func (r *Root) MakeDirectory(path string) error {
	return r.inside(func() error {
		err := os.MkdirAll(filepath.Join("/", path), 0o755)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EEXIST) {
			return classed.Errorf(errdefs.ErrInvalidArgument, "Cannot mkdir: %s is not a directory", path)
		}
		return err
	})
}

// Absolute makes the path of a request absolute and clean. It keeps a "/" or "/." at the end.
func Absolute(path string) string { return keepEnd(filepath.Join("/", path), path) }

// keepEnd gives a clean path the "/" or "/." at the end of another one, which says that a directory is meant.
func keepEnd(clean, path string) string {
	if filepath.Base(path) == "." {
		clean = strings.TrimSuffix(clean, "/") + "/."
	}
	if strings.HasSuffix(path, "/") && !strings.HasSuffix(clean, "/") {
		clean += "/"
	}
	return clean
}

// openat is openat(2), which a signal does not end.
func openat(dir int, path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, path, flags|unix.O_CLOEXEC, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// pathError gives an error number of the kernel the step and the name.
func pathError(op, name string, err error) error {
	if _, ok := err.(unix.Errno); ok { //nolint:errorlint // only a bare number lacks a name
		return &os.PathError{Op: op, Path: name, Err: err}
	}
	return err
}
