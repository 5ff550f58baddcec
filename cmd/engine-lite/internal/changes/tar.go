package changes

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// WriteLayer writes a container's changes as the tar of an image's layer (OCI image specification, "Image Layer
// Filesystem Changeset"), and returns how many files and whiteouts it has. The tar of no changes is one, too. Errors:
// ErrRedirected, and those of w as they are.
func WriteLayer(ctx context.Context, w io.Writer, s Source) (int, error) {
	t, err := s.open()
	if err != nil {
		return 0, err
	}
	defer t.close()
	a := newArchive(ctx, w)
	a.overlay = t.overlay
	if err := t.walk(ctx, a.write); err != nil {
		return a.files, err
	}
	return a.files, a.tar.Close()
}

// Export writes all files of a container as a tar.
func Export(ctx context.Context, w io.Writer, container []mount.Mount) error {
	root, err := openTree(container)
	if err != nil {
		return err
	}
	defer root.Close()
	a := newArchive(ctx, w)
	all := &walk{ctx: ctx, visit: a.write} // nothing was before, so each file is new
	if err := all.dir(entry{path: "/", whole: true}, root, nil); err != nil {
		return err
	}
	return a.tar.Close()
}

// archive writes files to a tar.
type archive struct {
	ctx     context.Context
	tar     *tar.Writer
	overlay *overlay
	files   int
	buf     []byte
	// first is the first name in the tar of a file that has several. waiting are the names of such files that did not
	// change: they become links if another name of the file comes.
	first   map[inode]string
	waiting map[inode][]string
}

// inode is a file, whatever its name.
type inode struct{ dev, ino uint64 }

func newArchive(ctx context.Context, w io.Writer) *archive {
	return &archive{
		ctx: ctx, tar: tar.NewWriter(w), buf: make([]byte, 128<<10),
		first: map[inode]string{}, waiting: map[inode][]string{},
	}
}

// whiteout goes before the name of a file that was deleted.
const whiteout = ".wh."

// attributeRecord begins the names of the PAX records that have extended attributes.
const attributeRecord = "SCHILY.xattr."

// write adds one change. A file that is not there any more is left out, and so is a socket: no tar has any.
func (a *archive) write(e entry) error {
	name := strings.TrimPrefix(e.path, "/")
	if e.kind == deleted {
		a.files++
		return a.tar.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: path.Join(path.Dir(name), whiteout+path.Base(name)), ModTime: time.Unix(0, 0),
		})
	}
	st, err := lstat(e.dir, e.name)
	if st == nil || err != nil {
		return err
	}
	var content *os.File
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		if content, st, err = openRegular(e.dir, e.name); err != nil {
			return unlessGone(err)
		}
		defer content.Close()
	}
	header, err := a.header(e, name, st)
	if header == nil || err != nil {
		return unlessGone(err)
	}
	if st.Nlink > 1 && header.Typeflag != tar.TypeDir {
		if done, err := a.link(e, header, st); done || err != nil {
			return err
		}
	}
	a.files++
	if err := a.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("archive %s: %w", e.path, err)
	}
	if header.Typeflag == tar.TypeReg {
		if err := a.copy(content, header.Size); err != nil {
			return fmt.Errorf("archive %s: %w", e.path, err)
		}
	}
	return a.linkWaiting(header, st)
}

// link writes a further name of a file that is in the tar. It returns false for the first name.
func (a *archive) link(e entry, h *tar.Header, st *unix.Stat_t) (bool, error) {
	i := inode{st.Dev, st.Ino}
	if first, ok := a.first[i]; ok {
		return true, a.writeLink(*h, h.Name, first)
	}
	if e.kind == linked {
		a.waiting[i] = append(a.waiting[i], h.Name)
		return true, nil
	}
	a.first[i] = h.Name
	return false, nil
}

// linkWaiting writes the names of a file that did not change themselves.
func (a *archive) linkWaiting(h *tar.Header, st *unix.Stat_t) error {
	i := inode{st.Dev, st.Ino}
	for _, name := range a.waiting[i] {
		if err := a.writeLink(*h, name, h.Name); err != nil {
			return err
		}
	}
	delete(a.waiting, i)
	return nil
}

// writeLink writes another name of the file h. Its owner, mode, time and attributes are repeated: who unpacks a layer
// sets those of each link.
func (a *archive) writeLink(h tar.Header, name, first string) error {
	a.files++
	h.Typeflag, h.Name, h.Linkname, h.Size = tar.TypeLink, name, first, 0
	if err := a.tar.WriteHeader(&h); err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	return nil
}

// header describes a file; nil for one that no tar can have. As in Docker's archives, times have no fractions of seconds
// and owners no names.
func (a *archive) header(e entry, name string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Unix()),
		Format: tar.FormatPAX,
	}
	h.ModTime = h.ModTime.Truncate(time.Second)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		link, err := readLink(e.dir, e.name)
		if err != nil {
			return nil, err
		}
		h.Linkname = link
	default:
		return nil, nil
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	attributes, err := a.overlay.attributes(e.dir, e.name)
	if err != nil {
		return nil, err
	}
	for n, value := range attributes {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[attributeRecord+n] = value
	}
	return h, nil
}

// copy copies size bytes of a file. A file that has become shorter meanwhile is filled up with zeros, as tar(1) does.
func (a *archive) copy(from io.Reader, size int64) error {
	for size > 0 {
		if err := a.ctx.Err(); err != nil {
			return context.Cause(a.ctx)
		}
		part := a.buf[:min(size, int64(len(a.buf)))]
		n, err := io.ReadFull(from, part)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			clear(part[n:])
			n, err = len(part), nil
		}
		if err != nil {
			return err
		}
		if _, err := a.tar.Write(part[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
