// Package treesize measures how many bytes a tree of files has.
//
// The tree may belong to a running container: its files come and go during the walk, and directories turn into symlinks.
// containerd's continuity fails on the first file that is gone, and follows such a symlink to files outside.
package treesize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// blockSize is the unit of a file's blocks, in bytes (stat(2)).
const blockSize = 512

// batch is how many names are read from a directory between two looks at the context.
const batch = 1024

// walker walks one tree.
type walker struct {
	root    int // descriptor
	pending []string
	linked  map[inode]struct{} // files with several names, which count once
	count   Count
	size    int64
}

// Count is what of a file counts.
type Count int

const (
	// Blocks are what a file takes on the disk.
	Blocks Count = iota
	// Lengths are how long a file is, holes too. Directories have none.
	Lengths
)

type inode struct{ dev, ino uint64 }

// walk returns how many bytes dir and all that is below have, without what is mounted there. Whatever goes
// away meanwhile does not count, neither does what lies deeper than a path can be long. Errors: NotFound where dir is
// missing, and the cause of the end of ctx.
func walk(ctx context.Context, dir string, count Count) (int64, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return 0, classed.Errorf(errdefs.ErrNotFound, "no directory %s", dir)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot measure %s: %w", dir, err)
	}
	defer unix.Close(root)
	w := &walker{root: root, pending: []string{"."}, linked: map[inode]struct{}{}, count: count}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return 0, fmt.Errorf("cannot measure %s: %w", dir, err)
	}
	w.add(&st)
	for len(w.pending) > 0 {
		last := len(w.pending) - 1
		path := w.pending[last]
		w.pending = w.pending[:last]
		if err := w.directory(ctx, path); err != nil {
			return 0, fmt.Errorf("cannot measure %s: %w", dir, err)
		}
	}
	return w.size, nil
}

// directory counts what is in one directory. Its subdirectories are pending afterwards.
func (w *walker) directory(ctx context.Context, path string) error {
	fd, err := unix.Openat2(w.root, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if uncounted(err) {
		return nil
	}
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		names, err := dir.Readdirnames(batch)
		for _, name := range names {
			if err := w.entry(fd, path, name); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) { // the directory was removed
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *walker) entry(dir int, path, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if uncounted(err) {
		return nil
	}
	if err != nil {
		return err
	}
	w.add(&st)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		w.pending = append(w.pending, path+"/"+name)
	}
	return nil
}

func (w *walker) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		key := inode{st.Dev, st.Ino}
		if _, known := w.linked[key]; known {
			return
		}
		w.linked[key] = struct{}{}
	}
	switch {
	case w.count == Blocks:
		w.size += st.Blocks * blockSize
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		w.size += st.Size
	}
}

// uncounted reports whether an entry is gone, is no directory any more, is a mount, or has too long a path.
func uncounted(err error) bool {
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.ENAMETOOLONG} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}
