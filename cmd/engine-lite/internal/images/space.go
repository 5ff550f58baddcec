package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// spareBytes are allocated behind each database, so that a container's root
// file system can be removed on a full disk too.
const spareBytes = 2 << 20

func snapshotsDatabase(root, snapshotter string) string {
	return filepath.Join(root, "snapshots", snapshotter, "metadata.db")
}

// holdSpace allocates blocks for the next writes of the databases. A full disk, or a file
// system that can't allocate ahead, is no error: the store works without.
func (s *Store) holdSpace() {
	for _, path := range []string{filepath.Join(s.root, "metadata.db"), snapshotsDatabase(s.root, s.snapshotter)} {
		if err := holdBehind(path); err != nil {
			s.log.WithError(err).Debug(
				"cannot reserve disk space for the image databases; removals may fail on a full disk")
		}
	}
}

// tidy collects, and reserves space again. The collector calls it.
func (s *Store) tidy(ctx context.Context) error {
	err := s.Collect(ctx)
	s.holdSpace()
	return err
}

// holdBehind allocates blocks for the file's holes, and spareBytes behind its end. The
// file's size stays the same: a database grows by changing it. The journal's reserve shares
// no code with this: it makes its own file larger, behind its highest page, and the engine
// creates nothing new while that fails.
func holdBehind(path string) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing was ever written to it
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, info.Size()+spareBytes); err != nil {
		return fmt.Errorf("allocate space for %s: %w", path, err)
	}
	return nil
}
