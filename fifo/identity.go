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

// Identity tells one file from every other on this machine. Two identities of
// the same file are equal under ==, whichever way it was opened.
type Identity struct {
	// Dev and Ino are the device and inode numbers, as in stat(2).
	Dev, Ino uint64
	// Born is the time of birth in nanoseconds since 1970, as in statx(2), or 0
	// where the file system does not record it. It is here because file systems
	// such as ext4 hand the inode number of a removed file to the next one.
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

// pin is an O_PATH descriptor: it names one inode for as long as it is open,
// whatever happens to the path. Its owner calls close.
type pin struct {
	fd   int
	path string
	status
}

// pinPath pins what path names. A symbolic link as the last component is pinned
// itself, not followed. Opening with O_PATH has no effect on a FIFO's peers.
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

// procPath is a path that leads to the pinned inode and to no other, see
// proc_pid_fd(5).
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

// open is open(2) with O_CLOEXEC, with errors classed. It retries after a
// signal, as the os package does (a network file system may return EINTR).
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

// classed adds the errdefs class that belongs to a system call's error and
// keeps the error itself in the chain.
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

// checkPath refuses a path that depends on the working directory or that the
// kernel would read differently from us.
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
