package changes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// named is a name in a directory, and the type of the file.
type named struct {
	name string
	typ  os.FileMode
}

// readNames returns the names in a directory, in order.
func readNames(dir *os.File) ([]named, error) {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names := make([]named, len(entries))
	for i, e := range entries {
		names[i] = named{e.Name(), e.Type()}
	}
	slices.SortFunc(names, byName)
	return names, nil
}

// openPath opens a directory of the host.
func openPath(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return asFile(fd), nil
}

// openDirectory opens a directory in a directory. Errors: ENOENT where name is no directory any more.
func openDirectory(dir *os.File, name string) (*os.File, error) {
	return openAt(dir, name, unix.O_DIRECTORY)
}

// openRegular opens a regular file in a directory. A FIFO that has taken the file's place does not block the open.
func openRegular(dir *os.File, name string) (*os.File, *unix.Stat_t, error) {
	f, err := openAt(dir, name, unix.O_NONBLOCK)
	if err != nil {
		return nil, nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, nil, errors.Join(unix.ENOENT, f.Close())
	}
	return f, &st, nil
}

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		return nil, unix.ENOENT // another file has taken the name
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return asFile(fd), nil
}

// asFile gives a descriptor the name by which it can be found: the file may have none in the host's tree.
func asFile(fd int) *os.File { return os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd)) }

// lstat returns what a directory has under a name; nil where it has nothing, or dir is nil.
func lstat(dir *os.File, name string) (*unix.Stat_t, error) {
	if dir == nil {
		return nil, nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if unlessGone(err) != nil {
		return nil, fmt.Errorf("stat %s: %w", name, err)
	}
	if err != nil {
		return nil, nil
	}
	return &st, nil
}

// unlessGone is err, or nil where the file that a walk came to is not there any more.
func unlessGone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) {
		return nil
	}
	return err
}

// opaque tells whether an upper directory hides what is below it.
func (o *overlay) opaque(dir *os.File) (bool, error) {
	names, err := listAttributes(dir.Name() + "/.")
	if err != nil {
		return false, err
	}
	if slices.Contains(names, o.prefix+"redirect") {
		return false, ErrRedirected
	}
	if !slices.Contains(names, o.prefix+"opaque") {
		return false, nil
	}
	value, err := getAttribute(dir.Name()+"/.", o.prefix+"opaque")
	return string(value) == "y", err
}

// same tells whether a file is as it was. The sizes and times of directories say nothing. In an upper directory there is
// a file that was opened for writing, so its content is compared. Elsewhere all files are, and the content is compared
// only where the time has no nanoseconds: archives cut them off.
func (w *walk) same(e entry, st *unix.Stat_t, was *os.File, before *unix.Stat_t) (bool, error) {
	if st.Mode != before.Mode || st.Uid != before.Uid || st.Gid != before.Gid || st.Rdev != before.Rdev {
		return false, nil
	}
	typ := st.Mode & unix.S_IFMT
	if typ != unix.S_IFDIR && (st.Size != before.Size || st.Mtim != before.Mtim) {
		return false, nil
	}
	now, err := w.overlay.attributes(e.dir, e.name)
	if err != nil {
		return false, err
	}
	then, err := (*overlay)(nil).attributes(was, e.name)
	if err != nil || !maps.Equal(now, then) {
		return false, err
	}
	switch {
	case typ == unix.S_IFLNK:
		return sameLink(e, was)
	case typ == unix.S_IFREG && st.Size > 0 && (w.overlay != nil || st.Mtim.Nsec == 0):
		return w.sameContent(e, was)
	}
	return true, nil
}

func sameLink(e entry, was *os.File) (bool, error) {
	now, err := readLink(e.dir, e.name)
	if err != nil {
		return false, err
	}
	before, err := readLink(was, e.name)
	return now == before, err
}

func readLink(dir *os.File, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if errors.Is(err, unix.EINVAL) {
		err = unix.ENOENT // it is no link any more
	}
	if err != nil {
		return "", fmt.Errorf("read link %s: %w", name, err)
	}
	return string(buf[:n]), nil
}

func (w *walk) sameContent(e entry, was *os.File) (bool, error) {
	now, _, err := openRegular(e.dir, e.name)
	if err != nil {
		return false, err
	}
	defer now.Close()
	before, _, err := openRegular(was, e.name)
	if err != nil {
		return false, err
	}
	defer before.Close()
	a, b := make([]byte, 32<<10), make([]byte, 32<<10)
	for w.ctx.Err() == nil {
		n, err := io.ReadFull(now, a)
		m, errBefore := io.ReadFull(before, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if n < len(a) {
			return atEnd(err) && atEnd(errBefore), nil
		}
	}
	return false, w.ctx.Err()
}

func atEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// attributes returns the extended attributes that belong to a file's content: what a user has set, capabilities and
// access control lists. Labels of the host's security modules don't, and neither does what overlayfs keeps.
func (o *overlay) attributes(dir *os.File, name string) (map[string]string, error) {
	path := dir.Name() + "/" + name
	names, err := listAttributes(path)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	kept := map[string]string{}
	for _, n := range names {
		if o != nil && n == o.prefix+"metacopy" {
			return nil, ErrRedirected
		}
		if o != nil && strings.HasPrefix(n, o.prefix) || !keptAttribute(n) {
			continue
		}
		value, err := getAttribute(path, n)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, err
		}
		kept[n] = string(value)
	}
	return kept, nil
}

func keptAttribute(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.")
}

// listAttributes returns the names of a file's extended attributes. A filesystem without any is no error.
func listAttributes(path string) ([]string, error) {
	list, err := sized(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the attributes of a file: %w", err)
	}
	return strings.FieldsFunc(string(list), func(r rune) bool { return r == 0 }), nil
}

func getAttribute(path, name string) ([]byte, error) {
	value, err := sized(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
	if err != nil {
		return nil, fmt.Errorf("read the attribute %s of a file: %w", name, err)
	}
	return value, nil
}

// sized calls read with a buffer that is large enough.
func sized(read func(buf []byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 256)
	n, err := read(buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // the kernel's bound: XATTR_SIZE_MAX, XATTR_LIST_MAX
		n, err = read(buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
