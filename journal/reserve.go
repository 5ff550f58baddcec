package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Blocks of the file system that lie behind the pages in use, so that a commit finds room on a full disk:
//
//	| pages of the database | reserve ............ | reserveAhead - reserve |
//	                        ^ high water           ^ less than this: scarce
//
// The part on the right keeps most commits from having to allocate. A file system that copies on write, or can't allocate
// ahead, has no use of them.
const (
	defaultReserve = 4 << 20
	reserveAhead   = 2 // times the reserve
)

// keepReserve has blocks allocated behind the high water mark where too few are left. It is the committer's, who alone
// makes the file grow. On a full disk it tells the others.
func (j *Journal) keepReserve(highWater int64) {
	if j.opts.Reserve < 0 || j.reserved-highWater >= j.opts.Reserve {
		return
	}
	var err error
	for times := int64(reserveAhead); times > 0; times-- {
		size := times * j.opts.Reserve
		if err = allocate(int(j.file.Fd()), highWater, size); err == nil {
			j.reserved = highWater + size
			break
		}
	}
	if !isFull(err) { // there is no reserve to be had here, but that doesn't mean that there is no room
		err = nil
	}
	if known := j.current().scarce; (known == nil) != (err == nil) {
		j.change(func(s *state) { s.scarce = err })
	}
}

func allocate(fd int, offset, size int64) error {
	for {
		if err := unix.Fallocate(fd, 0, offset, size); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// Room tells whether there is room for something new, as opposed to what has to be written in the end: nil where
// the reserve is whole, the disk has as much again, and the last commit succeeded. Where the first or the last isn't so, it
// tries again before. It costs one statfs(2) while all is well.
//
// Errors: ResourceExhausted where the disk is full: what is left is the reserve, for the events of what is there
// already. Unavailable where the disk is read-only, the last commit failed and another one does too, or the journal takes
// no commits any more. ErrClosed; ctx's.
func (j *Journal) Room(ctx context.Context) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(j.path, &fs); err == nil && fs.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("journal %s is on a file system that is read-only: %w", j.path, errdefs.ErrUnavailable)
	} else if err == nil && int64(fs.Bfree)*fs.Bsize < j.opts.Reserve {
		return j.full(unix.ENOSPC)
	}
	s := j.current()
	if s.broken == nil && s.refused == nil && s.scarce == nil && !s.closed {
		return nil
	}
	err := j.Commit(ctx, func(tx *Tx) error {
		tx.probe = s.refused != nil
		return nil
	})
	if scarce := j.current().scarce; err == nil && scarce != nil {
		return j.full(scarce)
	}
	if errdefs.IsInternal(err) {
		return fmt.Errorf("%v: %w", err, errdefs.ErrUnavailable)
	}
	return err
}

func (j *Journal) full(err error) error {
	return fmt.Errorf("the disk of journal %s is full, what is left is kept for exits and removals: %w: %w",
		j.path, err, errdefs.ErrResourceExhausted)
}
