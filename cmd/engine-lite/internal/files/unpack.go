package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Owner is a user and a group.
type Owner struct{ UID, GID int }

// UnpackOptions say how an archive is unpacked.
type UnpackOptions struct {
	// Owner gets all files; nil for the owners in the archive.
	Owner *Owner
	// KeepKind refuses to replace a directory by something else, and something else by a directory.
	KeepKind bool
}

// Unpack unpacks a plain tar archive into the directory at a path. What is there already is replaced; a directory
// keeps what it has. Owners, modes, times, hard links and extended attributes are those of the archive. Blocks of
// zeros become holes.
//
// Links in the container are followed as a process in the container would follow them, and lead to somewhere in the
// container. An entry's own name is never followed. An error leaves what was unpacked so far. Errors: os.ErrNotExist
// if the path does not exist; InvalidArgument if it is no directory, or if the container's mount there is read-only. A
// read of the archive sees the container's files in place of the host's.
func (r *Root) Unpack(ctx context.Context, path string, archive io.Reader, o UnpackOptions) error {
	return r.inside(func() error {
		at, err := filepath.EvalSymlinks(filepath.Join("/", path))
		if err != nil {
			return err
		}
		at = keepEnd(at, path)
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return classed.Errorf(errdefs.ErrInvalidArgument, "extraction point is not a directory")
		}
		if err := r.checkWritable(filepath.Clean(at)); err != nil {
			return err
		}
		root, err := openat(unix.AT_FDCWD, at, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: at, Err: err}
		}
		u := &unpacker{ctx: ctx, tar: tar.NewReader(archive), options: o, path: at, root: root, buf: make([]byte, copySize)}
		defer u.close()
		err = u.unpack()
		if errors.Is(err, os.ErrNotExist) { // something in the archive, and not the path
			return errors.New(err.Error())
		}
		return err
	})
}

// checkWritable refuses a directory that the container may not write to, in dockerd's words. The kernel would refuse
// the first file there.
func (r *Root) checkWritable(path string) error {
	longest, readOnly := "", false
	for _, m := range r.config.Mounts {
		at := filepath.Join("/", m.Destination)
		if m.Type == "bind" && len(at) > len(longest) && (path == at || strings.HasPrefix(path, at+"/")) {
			longest, readOnly = at, isReadOnly(m.Options)
		}
	}
	switch {
	case readOnly:
		return classed.Errorf(errdefs.ErrInvalidArgument, "mounted volume is marked read-only")
	case longest == "" && r.config.ReadOnly:
		return classed.Errorf(errdefs.ErrInvalidArgument, "container rootfs is marked read-only")
	}
	return nil
}

type unpacker struct {
	ctx     context.Context
	tar     *tar.Reader
	options UnpackOptions
	path    string
	root    int // the directory at path
	buf     []byte
	// parent is the open directory of the last entry, whose path in the archive is parentPath; empty for none. It is
	// stale once a directory or a link was removed, which may have been a part of that path.
	parent     int
	parentPath string
	stale      bool
	// dirs get their times at the end: files that are made in them change these.
	dirs []unpackedDir
}

type unpackedDir struct {
	name  string
	times []unix.Timespec
}

func (u *unpacker) close() {
	u.forgetParent()
	_ = unix.Close(u.root)
}

func (u *unpacker) unpack() error {
	for {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		h, err := u.tar.Next()
		if errors.Is(err, io.EOF) {
			return u.setDirTimes()
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := entryName(h.Name, "entry name")
		if err != nil {
			return err
		}
		if name == "." {
			continue
		}
		if err := u.entry(name, h); err != nil {
			return err
		}
	}
}

// entryName makes a name in an archive relative to the directory into which the archive is unpacked.
func entryName(name, what string) (string, error) {
	clean := filepath.Clean(strings.TrimLeft(name, "/"))
	if !filepath.IsLocal(clean) {
		return "", fmt.Errorf("invalid %s %q", what, name)
	}
	return clean, nil
}

func (u *unpacker) entry(name string, h *tar.Header) error {
	dir, err := u.openParent(name)
	if err != nil {
		return err
	}
	base := filepath.Base(name)
	fresh, err := u.makeWay(dir, base, name, h)
	if err != nil {
		return err
	}
	if err := u.create(dir, base, name, h, fresh); err != nil {
		return pathError("create", name, err)
	}
	return nil
}

// openParent opens the directory of an entry, and makes it if the archive has not. The directory stays open for the
// next entry.
func (u *unpacker) openParent(name string) (int, error) {
	path := filepath.Dir(name)
	if path == "." {
		return u.root, nil
	}
	if path == u.parentPath && !u.stale {
		return u.parent, nil
	}
	u.forgetParent()
	fd, err := openat(u.root, path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = u.makeParents(path)
	}
	if err != nil {
		return -1, pathError("open", path, err)
	}
	u.parent, u.parentPath = fd, path
	return fd, nil
}

func (u *unpacker) forgetParent() {
	if u.parentPath != "" {
		_ = unix.Close(u.parent)
	}
	u.parentPath, u.stale = "", false
}

// makeParents makes the directories of a path that are not there, and opens the last one.
func (u *unpacker) makeParents(path string) (int, error) {
	at := u.root
	for part := range strings.SplitSeq(path, "/") {
		err := unix.Mkdirat(at, part, 0o755)
		var next int
		if err == nil || errors.Is(err, unix.EEXIST) {
			next, err = openat(at, part, unix.O_PATH|unix.O_DIRECTORY, 0)
		}
		if errors.Is(err, unix.ENOENT) {
			next, err = makeTarget(at, part)
		}
		if at != u.root {
			_ = unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

// makeTarget makes and opens the directory to which a link leads; nothing is there yet.
func makeTarget(dir int, link string) (int, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, link, target)
	if err != nil {
		return -1, err
	}
	if err := unix.Fchdir(dir); err != nil { // of this thread
		return -1, err
	}
	if err := os.MkdirAll(string(target[:n]), 0o755); err != nil {
		return -1, err
	}
	return openat(dir, link, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// makeWay removes what is in an entry's place. A directory that stays one is not removed: fresh is false for it.
func (u *unpacker) makeWay(dir int, base, name string, h *tar.Header) (fresh bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	if err != nil {
		return false, pathError("lstat", name, err)
	}
	was, is := st.Mode&unix.S_IFMT == unix.S_IFDIR, h.Typeflag == tar.TypeDir
	switch {
	case was && is:
		return false, nil
	case u.options.KeepKind && was:
		return false, fmt.Errorf("cannot overwrite directory %q with non-directory %q", name, u.path)
	case u.options.KeepKind && is:
		return false, fmt.Errorf("cannot overwrite non-directory %q with directory %q", name, u.path)
	case !was:
		err = unix.Unlinkat(dir, base, 0)
	default:
		if err = unix.Fchdir(dir); err == nil { // of this thread
			err = os.RemoveAll(base)
		}
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFDIR || kind == unix.S_IFLNK {
		u.stale = true
	}
	return true, pathError("unlinkat", name, err)
}
