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

// Tree deletes a file, or a directory with all that is in it. It follows no symbolic links. When ctx ends, it returns
// ctx's error soon, and the rest of the tree stays. A path where nothing is is no error.
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
	for {
		names, err := some(dir)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return parent.Remove(name)
		}
		for _, entry := range names {
			if err := remove(ctx, dir, entry); err != nil {
				return err
			}
		}
	}
}

// some are entries of a directory; none if it is empty.
func some(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(batch)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return names, err
}

// Below deletes all that is in a directory, and leaves the directory. What cannot be deleted stays, and doesn't keep the
// rest from being deleted. When ctx ends, it returns ctx's error soon.
func Below(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		errs = append(errs, Tree(ctx, filepath.Join(dir, entry.Name())))
	}
	return errors.Join(errs...)
}
