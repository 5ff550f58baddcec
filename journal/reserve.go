package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// The reserve is blocks of the disk that are allocated behind the pages in use, so that a commit finds room on a full
// disk:
//
//	| pages of the database | reserve ............ | up to reserveAhead * reserve |
//	                        ^ high water           ^ the reserve is scarce if less is allocated
//
// The part on the right makes allocation rare. On a file system that copies on write, or can't allocate ahead, there is
// no reserve.
//
// The image store allocates behind its databases too, and shares no code with this: containerd's metadata store grows
// those files, so their sizes must stay, and nobody asks whether the allocation succeeded.
const (
	defaultReserve = 4 << 20
	reserveAhead   = 2 // times the reserve
)

// keepReserve allocates blocks behind the high water mark, an offset in bytes, if too few are left. Only the committer
// calls it: only the committer makes the file grow. If the disk is full, it sets scarce in the state.
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
	if !isFull(err) { // this file system can't have a reserve: the disk may have room all the same
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

// Room returns nil if the disk has room for something new: if the reserve is complete, the disk has as many free bytes
// besides, and the last commit succeeded. A caller asks before it creates something. It need not ask before it records
// an exit or a removal, which the reserve is for.
//
// If the reserve is not complete or the last commit failed, Room tries a commit first. Else it costs one statfs(2).
//
// Errors: ResourceExhausted if the disk is full but for the reserve. Unavailable if the disk is read-only, if the last
// commit failed and another one fails too, or if the journal takes no commits any more. [ErrClosed], and ctx's error.
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
