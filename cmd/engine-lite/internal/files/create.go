package files

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// create makes an entry in a directory. Nothing has the name, except for a directory where fresh is false. What is made
// is changed through its descriptor, or by name without following a link: a container may put a link into its place.
func (u *unpacker) create(dir int, base, name string, h *tar.Header, fresh bool) error {
	mode := uint32(h.Mode & 0o7777)
	switch h.Typeflag {
	case tar.TypeDir:
		return u.createDir(dir, base, name, h, fresh)
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.createFile(dir, base, h)
	case tar.TypeLink:
		return u.createLink(dir, base, h)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, dir, base); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mknodat(dir, base, unix.S_IFIFO|mode, 0); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock:
		if err := createDevice(dir, base, mode, h); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unhandled tar header type %d", h.Typeflag)
	}
	return u.describe(dir, base, h)
}

// describe gives what is no file and no directory its owner, attributes and times.
func (u *unpacker) describe(dir int, base string, h *tar.Header) error {
	uid, gid, err := u.owner(h)
	if err == nil {
		err = unix.Fchownat(dir, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return chownError(h, err)
	}
	err = setAttributes(h, func(name string, value []byte) error {
		if err := unix.Fchdir(dir); err != nil { // of this thread
			return err
		}
		return unix.Lsetxattr(base, name, value, 0)
	})
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, base, times(h), unix.AT_SYMLINK_NOFOLLOW)
}

func createDevice(dir int, base string, mode uint32, h *tar.Header) error {
	for _, n := range []int64{h.Devmajor, h.Devminor} {
		if n < 0 || n > math.MaxUint32 {
			return fmt.Errorf("device number %d:%d of %q is out of range", h.Devmajor, h.Devminor, h.Name)
		}
	}
	mode |= unix.S_IFCHR
	if h.Typeflag == tar.TypeBlock {
		mode = mode&^unix.S_IFMT | unix.S_IFBLK
	}
	return unix.Mknodat(dir, base, mode, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
}

// createLink makes another name for what the archive, or the container, has already. Its owner, mode and times come
// with its first name.
func (u *unpacker) createLink(dir int, base string, h *tar.Header) error {
	target, err := entryName(h.Linkname, "hardlink target")
	if err == nil && target == "." {
		err = fmt.Errorf("invalid hardlink target %q", h.Linkname)
	}
	if err != nil {
		return err
	}
	from := u.root
	if path := filepath.Dir(target); path != "." {
		if from, err = openat(u.root, path, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
			return &os.LinkError{Op: "link", Old: target, New: h.Name, Err: err}
		}
		defer unix.Close(from)
	}
	if err := unix.Linkat(from, filepath.Base(target), dir, base, 0); err != nil {
		return &os.LinkError{Op: "link", Old: target, New: h.Name, Err: err}
	}
	return nil
}

func (u *unpacker) createDir(dir int, base, name string, h *tar.Header, fresh bool) error {
	if fresh {
		if err := unix.Mkdirat(dir, base, uint32(h.Mode&0o777)); err != nil {
			return err
		}
	}
	fd, err := openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	u.dirs = append(u.dirs, unpackedDir{name, times(h)})
	return u.describeOpen(fd, h)
}

func (u *unpacker) setDirTimes() error {
	for _, d := range u.dirs {
		dir, err := u.openParent(d.name)
		if err == nil {
			err = unix.UtimesNanoAt(dir, filepath.Base(d.name), d.times, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) { // the container has removed it
			return pathError("chtimes", d.name, err)
		}
	}
	return nil
}

// createFile writes a file that nothing else has opened before: O_EXCL follows no link, and opens no pipe.
func (u *unpacker) createFile(dir int, base string, h *tar.Header) error {
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW
	fd, err := openat(dir, base, flags, uint32(h.Mode&0o777))
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	err = u.fill(f, h)
	if err == nil {
		err = u.describeOpen(fd, h)
	}
	if err == nil {
		err = unix.UtimesNanoAt(fd, "", times(h), unix.AT_EMPTY_PATH)
	}
	return errors.Join(err, f.Close())
}

// fill writes a file's content. What is zero in whole blocks is not written: the file gets a hole there.
func (u *unpacker) fill(f *os.File, h *tar.Header) error {
	var at int64
	hole := false
	for {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(u.tar, u.buf)
		for part := u.buf[:n]; len(part) > 0; {
			size := min(len(part), holeSize)
			if hole = allZero(part[:size]); !hole {
				if _, err := f.WriteAt(part[:size], at); err != nil {
					return err
				}
			}
			at, part = at+int64(size), part[size:]
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && at == h.Size:
			if hole {
				return f.Truncate(at)
			}
			return nil
		default:
			return err
		}
	}
}

// holeSize is the size of the blocks that become holes.
const holeSize = 32 << 10

func allZero(b []byte) bool { return b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:]) }

// describeOpen gives an open file or directory its owner, attributes, mode and times. The mode comes after the owner,
// which takes the bits for other ids away.
func (u *unpacker) describeOpen(fd int, h *tar.Header) error {
	uid, gid, err := u.owner(h)
	if err == nil {
		err = unix.Fchown(fd, uid, gid)
	}
	if err != nil {
		return chownError(h, err)
	}
	err = setAttributes(h, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) })
	if err != nil {
		return err
	}
	return unix.Fchmod(fd, uint32(h.Mode&0o7777))
}

// owner is who gets an entry. -1 would mean "no change" to chown(2).
func (u *unpacker) owner(h *tar.Header) (uid, gid int, err error) {
	if o := u.options.Owner; o != nil {
		return o.UID, o.GID, nil
	}
	for _, id := range []int{h.Uid, h.Gid} {
		if id < 0 || id >= math.MaxUint32 {
			return 0, 0, unix.EINVAL
		}
	}
	return h.Uid, h.Gid, nil
}

func chownError(h *tar.Header, err error) error {
	return fmt.Errorf("failed to Lchown %q for UID %d, GID %d: %w", h.Name, h.Uid, h.Gid, err)
}

// setAttributes sets the extended attributes of an entry. As at dockerd, one that may not be set is left out.
func setAttributes(h *tar.Header, set func(name string, value []byte) error) error {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		err := set(name, []byte(value))
		if errors.Is(err, unix.EPERM) {
			logrus.WithError(err).WithFields(logrus.Fields{"file": h.Name, "attribute": name}).Warn(
				"an extended attribute in an archive may not be set; the file is copied without it")
			continue
		}
		if err != nil {
			return &os.PathError{Op: "lsetxattr " + name, Path: h.Name, Err: err}
		}
	}
	return nil
}

// times are the times of access and change of an entry.
func times(h *tar.Header) []unix.Timespec {
	access := h.AccessTime
	if access.Before(h.ModTime) {
		access = h.ModTime
	}
	spec := func(t time.Time) unix.Timespec { return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())} }
	return []unix.Timespec{spec(access), spec(h.ModTime)}
}
