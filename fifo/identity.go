package fifo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Identity identifies one file of this machine. Two identities are equal under == if
// they are those of the same file, by whatever path it was opened.
type Identity struct {
	// Dev and Ino are the device and inode numbers, as in stat(2).
	Dev, Ino uint64
	// Born is the time of birth in nanoseconds since 1970, as in statx(2), or 0 if
	// the file system does not record it. Born is needed because file systems such
	// as ext4 use the inode number of a removed file again.
	Born int64
}

// status is what statx(2) says about a file.
type status struct {
	id   Identity
	mode uint16
}

func (s status) isFIFO() bool {
	return s.mode&unix.S_IFMT == unix.S_IFIFO
}

// statDescriptor describes the file behind fd, which may be an O_PATH one.
func statDescriptor(fd int) (status, error) {
	var st unix.Statx_t
	mask := unix.STATX_TYPE | unix.STATX_INO | unix.STATX_BTIME
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, mask, &st); err != nil {
		return status{}, err
	}
	id := Identity{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return status{id: id, mode: st.Mode}, nil
}

// pin is an O_PATH descriptor. It stands for one inode for as long as it is open,
// whatever happens to the path. Its owner calls close.
type pin struct {
	fd   int
	path string
	status
}

// pinPath pins the file at path. If the last component is a symbolic link, the link
// itself is pinned. Opening a FIFO with O_PATH doesn't count as a reader or writer.
func pinPath(path string, flags int) (*pin, error) {
	fd, err := open(path, unix.O_PATH|unix.O_NOFOLLOW|flags)
	if err != nil {
		return nil, err
	}
	st, err := statDescriptor(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot look at %q: %w", path, err)
	}
	return &pin{fd: fd, path: path, status: st}, nil
}

// procPath returns a path that leads to the pinned inode, see proc_pid_fd(5).
func (p *pin) procPath() string {
	return fmt.Sprintf("/proc/self/fd/%d", p.fd)
}

// reopen opens the pinned inode. The descriptor is the caller's.
func (p *pin) reopen(flags int) (int, error) {
	fd, err := open(p.procPath(), flags)
	if err != nil {
		return -1, fmt.Errorf("%q by way of %w", p.path, err)
	}
	return fd, nil
}

func (p *pin) close() {
	unix.Close(p.fd)
}

// open is open(2) with O_CLOEXEC, and errors with a class. After EINTR, which a network
// file system may return, it tries again, as package os does.
func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return -1, classed(&os.PathError{Op: "open", Path: path, Err: err})
		}
	}
}

// classed wraps the error of a system call together with its errdefs class.
func classed(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w (%w)", err, errdefs.ErrNotFound)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w (%w)", err, errdefs.ErrAlreadyExists)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (%w)", err, errdefs.ErrPermissionDenied)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w (%w)", err, errdefs.ErrResourceExhausted)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTEMPTY):
		return fmt.Errorf("%w (%w)", err, errdefs.ErrFailedPrecondition)
	case errors.Is(err, unix.ENAMETOOLONG):
		return fmt.Errorf("%w (%w)", err, errdefs.ErrInvalidArgument)
	}
	return err
}

// checkPath refuses a path that depends on the working directory, or that the kernel
// would read in another way than this package.
func checkPath(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("path %q is not absolute: %w", path, errdefs.ErrInvalidArgument)
	case filepath.Clean(path) != path:
		return fmt.Errorf("path %q is not clean: %w", path, errdefs.ErrInvalidArgument)
	case path == "/":
		return fmt.Errorf("path %q is the root directory: %w", path, errdefs.ErrInvalidArgument)
	case strings.IndexByte(path, 0) >= 0:
		return fmt.Errorf("path %q holds a NUL: %w", path, errdefs.ErrInvalidArgument)
	}
	return nil
}
