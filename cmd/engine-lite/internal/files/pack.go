package files

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Pack writes a tar archive of what is at a path, as dockerd names the entries: below the last element of the path,
// below "." if that is the path's end. Owners, modes, times, hard links and extended attributes are in it. Sockets are
// left out, and so is what the container deletes meanwhile. A file that becomes shorter meanwhile is filled up with
// zeros.
//
// Whatever else goes wrong is an error: the archive is not complete then. Memory does not grow with the size of files.
// A write to w sees the container's files in place of the host's.
func (r *Root) Pack(ctx context.Context, path string, w io.Writer) error {
	return r.inside(func() error {
		buffered := bufio.NewWriterSize(w, copySize)
		p := &packer{ctx: ctx, tar: tar.NewWriter(buffered), buf: make([]byte, copySize), seen: map[inode]string{}}
		if err := p.pack(Absolute(path)); err != nil {
			return err
		}
		return errors.Join(p.tar.Close(), buffered.Flush())
	})
}

const (
	// copySize is how many bytes are copied at a time.
	copySize = 256 << 10
	// maxNames is how many names of a directory are read at a time.
	maxNames = 4096
	// maxAttributes is the longest list of the names of extended attributes (XATTR_LIST_MAX).
	maxAttributes = 64 << 10
	// xattrRecord begins the name of a PAX record with an extended attribute, as star and GNU tar write it.
	xattrRecord = "SCHILY.xattr."
)

// inode names a file: the number alone is not enough, since there may be mounts.
type inode struct{ dev, ino uint64 }

type packer struct {
	ctx   context.Context
	tar   *tar.Writer
	buf   []byte
	names []byte // of extended attributes
	// seen has the name of each file with several links.
	seen map[inode]string
}

// pack writes the archive of an absolute path.
func (p *packer) pack(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	if info.IsDir() {
		fd, err := openat(unix.AT_FDCWD, path, dirFlags, 0)
		if err != nil {
			return pathError("open", path, err)
		}
		if name != "/" {
			name += "/"
		}
		return pathError("archive", path, p.dir(fd, name))
	}
	parent, err := openat(unix.AT_FDCWD, filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return pathError("open", path, err)
	}
	defer unix.Close(parent)
	return p.entry(parent, name, name)
}

const (
	dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW
	// fileFlags: a container may put a pipe into a file's place, whose opening would wait without O_NONBLOCK.
	fileFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
)

// entry adds what a directory has under a base name to the archive. What is not there any more is left out.
func (p *packer) entry(dir int, base, name string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if len(name) > unix.PathMax {
		return &os.PathError{Op: "archive", Path: name[:80] + "...", Err: unix.ENAMETOOLONG}
	}
	var st unix.Stat_t
	err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return pathError("lstat", name, err)
	}
	fd := -1
	h := header(name, &st)
	switch h.Typeflag {
	case tar.TypeDir:
		fd, err = openat(dir, base, dirFlags, 0)
	case tar.TypeReg:
		fd, err = openat(dir, base, fileFlags, 0)
	case tar.TypeSymlink:
		h.Linkname, err = readlink(dir, base)
	}
	switch {
	case err != nil && replaced(dir, base, &st), st.Mode&unix.S_IFMT == unix.S_IFSOCK:
		return nil
	case err != nil:
		return pathError("open", name, err)
	case h.Typeflag == tar.TypeDir:
		return pathError("archive", name, p.dir(fd, name+"/"))
	case fd >= 0:
		return pathError("archive", name, p.file(fd, name))
	}
	return p.header(h, &st)
}

// replaced tells whether something else has a name now, or nothing.
func replaced(dir int, base string, was *unix.Stat_t) bool {
	var is unix.Stat_t
	err := unix.Fstatat(dir, base, &is, unix.AT_SYMLINK_NOFOLLOW)
	return errors.Is(err, unix.ENOENT) || err == nil && (is.Dev != was.Dev || is.Ino != was.Ino)
}

func readlink(dir int, base string) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, base, target)
	return string(target[:max(n, 0)]), err
}

// dir adds a directory with all that is in it, and closes the directory.
func (p *packer) dir(fd int, name string) error {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	h := header(name, &st)
	if err := p.attributes(fd, h); err != nil {
		return err
	}
	if err := p.header(h, &st); err != nil {
		return err
	}
	for {
		names, err := f.Readdirnames(maxNames)
		slices.Sort(names)
		for _, n := range names {
			if err := p.entry(fd, n, name+n); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) { // ENOENT: the directory was removed
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// file adds a regular file, and closes the file.
func (p *packer) file(fd int, name string) error {
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	h := header(name, &st)
	if h.Typeflag != tar.TypeReg {
		return nil // the file is gone, and something else has its name
	}
	if err := p.attributes(fd, h); err != nil {
		return err
	}
	if err := p.header(h, &st); err != nil || h.Typeflag == tar.TypeLink {
		return err
	}
	return p.content(fd, h)
}

// content copies as many bytes as the header says. What the file has lost meanwhile is replaced by zeros.
func (p *packer) content(fd int, h *tar.Header) error {
	for rest := h.Size; rest > 0; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		buf := p.buf[:min(rest, int64(len(p.buf)))]
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			logrus.WithFields(logrus.Fields{"file": h.Name, "bytes": rest}).Warn(
				"a file has become shorter while it was copied; its archive has zeros at the end")
			return p.zeros(rest)
		}
		if _, err := p.tar.Write(buf[:n]); err != nil {
			return err
		}
		rest -= int64(n)
	}
	return nil
}

func (p *packer) zeros(count int64) error {
	clear(p.buf)
	for count > 0 {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		n, err := p.tar.Write(p.buf[:min(count, int64(len(p.buf)))])
		if err != nil {
			return err
		}
		count -= int64(n)
	}
	return nil
}

// header makes an entry's header.
func header(name string, st *unix.Stat_t) *tar.Header {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	}
	return h
}

// header writes a header. The second name of a file becomes a hard link to the first.
func (p *packer) header(h *tar.Header, st *unix.Stat_t) error {
	if st.Nlink > 1 && h.Typeflag != tar.TypeDir {
		id := inode{st.Dev, st.Ino}
		if first, ok := p.seen[id]; ok {
			h.Typeflag, h.Linkname, h.Size, h.Devmajor, h.Devminor = tar.TypeLink, first, 0, 0, 0
		} else {
			p.seen[id] = h.Name
		}
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("archive %q: %w", h.Name, err)
	}
	return nil
}

// attributes adds the extended attributes that belong to a file's content: the user's, and the capabilities of a
// program. dockerd leaves out the user's.
func (p *packer) attributes(fd int, h *tar.Header) error {
	n, err := unix.Flistxattr(fd, nil)
	if err == nil && n == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if p.names == nil {
		p.names = make([]byte, maxAttributes)
	}
	if n, err = unix.Flistxattr(fd, p.names); err != nil {
		return fmt.Errorf("attributes of %q: %w", h.Name, err)
	}
	for name := range strings.SplitSeq(string(p.names[:n]), "\x00") {
		if name != "security.capability" && !strings.HasPrefix(name, "user.") {
			continue
		}
		value, err := p.attribute(fd, name)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return fmt.Errorf("attribute %s of %q: %w", name, h.Name, err)
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrRecord+name] = value
	}
	return nil
}

// attribute reads an attribute into the buffer for content, which is larger than any (XATTR_SIZE_MAX is 64 KiB).
func (p *packer) attribute(fd int, name string) (string, error) {
	n, err := unix.Fgetxattr(fd, name, p.buf)
	if err != nil {
		return "", err
	}
	return string(p.buf[:n]), nil
}
