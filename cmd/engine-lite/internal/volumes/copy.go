package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

// copyTree copies a directory to one that is not there, with owners, modes, times, links, extended attributes, devices
// and holes. It returns when the copy is on disk. continuity's CopyDir would fill the holes of files that come from
// another file system, as those of an image do, and syncs each file by itself.
func copyTree(ctx context.Context, to, from string) error {
	c := treeCopy{to: to, from: from, links: map[inode]string{}}
	err := filepath.WalkDir(from, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		return c.add(path)
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(c.directories) { // what is made in a directory changes its time
		if err := d.finish(); err != nil {
			return err
		}
	}
	return c.sync()
}

// inode is a file, whatever its names are.
type inode struct{ device, number uint64 }

// treeCopy is a copy that is under way.
type treeCopy struct {
	to, from string
	// links are the copies of files that have several names.
	links       map[inode]string
	directories []entry
	files       int
}

// entry is a file of any kind and its copy.
type entry struct {
	from, to string
	st       syscall.Stat_t
}

func (c *treeCopy) add(path string) error {
	rel, err := filepath.Rel(c.from, path)
	if err != nil {
		return err
	}
	e := entry{from: path, to: filepath.Join(c.to, rel)}
	if err := syscall.Lstat(path, &e.st); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	id := inode{e.st.Dev, e.st.Ino}
	kind := e.st.Mode & syscall.S_IFMT
	if kind != syscall.S_IFDIR && e.st.Nlink > 1 {
		if first := c.links[id]; first != "" {
			return os.Link(first, e.to)
		}
		c.links[id] = e.to
	}
	switch kind {
	case syscall.S_IFDIR:
		c.directories = append(c.directories, e)
		return os.Mkdir(e.to, 0o700)
	case syscall.S_IFREG:
		c.files++
		err = copyFile(e.to, e.from, e.st.Size, c.files <= syncEach)
	case syscall.S_IFLNK:
		var target string
		if target, err = os.Readlink(e.from); err == nil {
			err = os.Symlink(target, e.to)
		}
	default:
		if err = unix.Mknod(e.to, e.st.Mode, int(e.st.Rdev)); err != nil {
			err = &os.PathError{Op: "mknod", Path: e.to, Err: err}
		}
	}
	if err != nil {
		return err
	}
	return e.finish()
}

// finish gives a copy owner, attributes, mode and times. The owner comes first: a change of owner takes set-user-ID and
// capabilities away.
func (e entry) finish() error {
	if err := os.Lchown(e.to, int(e.st.Uid), int(e.st.Gid)); err != nil {
		return err
	}
	if err := copyAttributes(e.to, e.from); err != nil {
		return fmt.Errorf("extended attributes of %s: %w", e.from, err)
	}
	if e.st.Mode&syscall.S_IFMT != syscall.S_IFLNK {
		if err := syscall.Chmod(e.to, e.st.Mode&0o7777); err != nil {
			return &os.PathError{Op: "chmod", Path: e.to, Err: err}
		}
	}
	times := []unix.Timespec{unix.Timespec(e.st.Atim), unix.Timespec(e.st.Mtim)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, e.to, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: e.to, Err: err}
	}
	return nil
}

// copyAttributes leaves out what the file system of the copy does not have.
func copyAttributes(to, from string) error {
	names, err := sysx.LListxattr(from)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		value, err := sysx.LGetxattr(from, name)
		if err == nil {
			err = sysx.LSetxattr(to, name, value, 0)
		}
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENODATA) {
			return err
		}
	}
	return nil
}

// copyFile copies what a file has between its holes, and syncs the copy if that is wanted.
func copyFile(to, from string, size int64, sync bool) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	copied, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	if err := copied.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		begin, err := source.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // holes to the end
			break
		}
		if err != nil {
			return err
		}
		end, err := source.Seek(begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := copyPart(copied, source, begin, end); err != nil {
			return err
		}
		at = end
	}
	if sync {
		return copied.Sync()
	}
	return nil
}

func copyPart(to, from *os.File, begin, end int64) error {
	for _, f := range []*os.File{to, from} {
		if _, err := f.Seek(begin, io.SeekStart); err != nil {
			return err
		}
	}
	_, err := io.CopyN(to, from, end-begin)
	return err
}

// syncEach is how many files are synced one by one. Beyond that, one sync of the whole file system is quicker, though
// it waits for what others have written, too.
const syncEach = 100

// sync writes what was copied to the disk.
func (c *treeCopy) sync() error {
	d, err := os.Open(c.to)
	if err != nil {
		return err
	}
	defer d.Close()
	if c.files > syncEach {
		if err := unix.Syncfs(int(d.Fd())); err != nil {
			return &os.PathError{Op: "syncfs", Path: c.to, Err: err}
		}
		return nil
	}
	return d.Sync()
}
