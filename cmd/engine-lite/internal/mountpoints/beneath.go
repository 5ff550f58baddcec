package mountpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// OpenBeneath opens a part of a tree, such as of a volume. Symbolic links are followed inside of the tree only. The caller
// closes the file. Errors: NotFound, and InvalidArgument for a path that leads out.
func OpenBeneath(tree, part string, flags uint64) (*os.File, error) {
	root, err := os.OpenFile(tree, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("root of a tree: %w", err)
	}
	defer root.Close()
	path := filepath.Join(tree, part)
	fd, err := unix.Openat2(int(root.Fd()), part, &unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, classed.Errorf(errdefs.ErrInvalidArgument,
			"path concatenation escapes the base directory, base: %s, subpath: %s", tree, part)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, classed.Errorf(errdefs.ErrNotFound, "cannot access path %s: lstat %s: %v", path, path, err)
	case err != nil:
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// DescriptorPath is a path that leads to an open file, whatever its name is now.
func DescriptorPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
