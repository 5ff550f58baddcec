// Package deletion deletes trees of files of any size, and ends in their middle where it has to.
package deletion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// batch is how many entries of a directory are read at once: a directory may have more than fit into memory.
const batch = 1024

// Tree deletes a file, or a directory with all that is in it. It follows no symbolic links. An entry that cannot be
// deleted stays, and doesn't keep the others from being deleted. When ctx ends, Tree returns ctx's error soon, and the
// rest of the tree stays. A path where nothing is is no error.
func Tree(ctx context.Context, path string) error {
	parent, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot delete %s: %w", path, err)
	}
	defer parent.Close()
	if err := remove(ctx, parent, filepath.Base(path)); err != nil {
		return fmt.Errorf("cannot delete %s: %w", path, err)
	}
	return nil
}

func remove(ctx context.Context, parent *os.Root, name string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := parent.Remove(name)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return err
	}
	dir, err := parent.OpenRoot(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := removeEntries(ctx, dir); err != nil {
		return err
	}
	return parent.Remove(name)
}

// removeEntries empties a directory. It looks again until there is no entry that it can delete: a file system may pass
// over entries while others are deleted.
func removeEntries(ctx context.Context, dir *os.Root) error {
	for {
		if deleted, err := removeOnce(ctx, dir); deleted == 0 || ctx.Err() != nil {
			return err
		}
	}
}

// removeOnce deletes the entries of a directory that one look finds. The error is the first, or ctx's.
func removeOnce(ctx context.Context, dir *os.Root) (deleted int, first error) {
	f, err := dir.Open(".")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(batch)
		if errors.Is(err, io.EOF) {
			return deleted, first
		}
		if err != nil {
			return deleted, err
		}
		for _, name := range names {
			err := remove(ctx, dir, name)
			switch {
			case ctx.Err() != nil:
				return deleted, context.Cause(ctx)
			case err == nil:
				deleted++
			case first == nil:
				first = err
			}
		}
	}
}

// Below deletes all that is in a directory, and leaves the directory. What cannot be deleted stays, and doesn't keep the
// rest from being deleted. When ctx ends, it returns ctx's error soon.
func Below(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer root.Close()
		err = removeEntries(ctx, root)
	}
	if err != nil {
		return fmt.Errorf("cannot delete all that is in %s: %w", dir, err)
	}
	return nil
}
