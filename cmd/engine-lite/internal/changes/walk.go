package changes

import (
	"context"
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// kind is what a walk finds out about a file.
type kind int

const (
	modified kind = iota
	added
	deleted
	// linked is a file that has several names and did not change.
	linked
)

// entry is a file that a walk has come to.
type entry struct {
	kind kind
	// path is the file's place in the container; it begins with a slash.
	path string
	// dir is the open directory that has the file, and name its name there. The walk closes dir after the visit.
	dir  *os.File
	name string
	// whole says that dir has all files of the container's directory: nothing of the image shows through.
	whole bool
}

// walk calls visit for each change: parents before children, siblings in the order of their names. A directory that has
// changes inside is visited as modified. The root directory is not visited.
type walk struct {
	ctx     context.Context
	overlay *overlay
	visit   func(e entry) error
	// hidden are new files that are not visited while they are empty, by the type that they have then.
	hidden map[string]os.FileMode
	// pending are the directories around the walk's place that were not visited, outermost first.
	pending []entry
}

// List returns a container's changes; nil where there are none. The caller needs not try again with Source.Merged.
func List(ctx context.Context, s Source) ([]container.FilesystemChange, error) {
	var list []container.FilesystemChange
	t, err := s.open()
	if err != nil {
		return nil, err
	}
	defer t.close()
	err = t.walk(ctx, func(e entry) error {
		switch e.kind {
		case modified:
			list = append(list, container.FilesystemChange{Kind: container.ChangeModify, Path: e.path})
		case added:
			list = append(list, container.FilesystemChange{Kind: container.ChangeAdd, Path: e.path})
		case deleted:
			list = append(list, container.FilesystemChange{Kind: container.ChangeDelete, Path: e.path})
		case linked: // which is no change
		}
		return nil
	})
	if errors.Is(err, ErrRedirected) && !s.Merged {
		s.Merged = true
		return List(ctx, s)
	}
	return list, err
}

// walk calls visit for each change.
func (t *trees) walk(ctx context.Context, visit func(e entry) error) error {
	w := &walk{ctx: ctx, overlay: t.overlay, hidden: mountPoints, visit: visit}
	return w.dir(entry{path: "/", whole: t.overlay == nil}, t.now, t.was)
}

// dir walks the directory e, which is open; was is nil where there was no directory before.
func (w *walk) dir(e entry, now, was *os.File) error {
	whole := e.whole
	if w.overlay != nil {
		opaque, err := w.overlay.opaque(now)
		if err != nil {
			return unlessGone(err)
		}
		whole = whole || opaque // a directory in an opaque one is not marked
	}
	names, err := readNames(now)
	if err == nil && whole && was != nil {
		var before []named
		before, err = readNames(was)
		names = withMissing(names, before)
	}
	if err != nil {
		return unlessGone(err)
	}
	for _, f := range names {
		if err := w.ctx.Err(); err != nil {
			return context.Cause(w.ctx)
		}
		inside := entry{path: path.Join(e.path, f.name), dir: now, name: f.name, whole: whole}
		if err := w.file(inside, f.typ, was); err != nil {
			return err
		}
	}
	return nil
}

// missing is the type of a name that is not there now.
const missing = os.ModeIrregular

// withMissing adds to a directory's names those that it had before. All are in order.
func withMissing(names, before []named) []named {
	now := len(names)
	for _, b := range before {
		if _, found := slices.BinarySearchFunc(names[:now], b, byName); !found {
			names = append(names, named{b.name, missing})
		}
	}
	slices.SortFunc(names, byName)
	return names
}

func byName(a, b named) int { return strings.Compare(a.name, b.name) }

// file finds out what happened to a file of the type.
func (w *walk) file(e entry, typ os.FileMode, was *os.File) error {
	before, err := lstat(was, e.name)
	if err != nil {
		return err
	}
	if w.overlay != nil && typ&os.ModeCharDevice != 0 {
		st, err := lstat(e.dir, e.name)
		if err != nil {
			return err
		}
		if st == nil || st.Rdev == 0 { // a whiteout: no container can make such a device
			typ = missing
		}
	}
	switch {
	case typ == missing && before == nil:
		return nil
	case typ == missing:
		e.kind = deleted
		return w.found(e)
	case before != nil:
		return w.both(e, typ, was, before)
	}
	own, err := w.hides(e, typ)
	if err != nil {
		return err
	}
	if !own {
		e.kind = added
		if err := w.found(e); err != nil {
			return err
		}
	}
	if typ.IsDir() {
		return w.inside(e, nil, !own)
	}
	return nil
}

// both compares a file with the one that had its name before.
func (w *walk) both(e entry, typ os.FileMode, was *os.File, before *unix.Stat_t) error {
	st, err := lstat(e.dir, e.name)
	if st == nil || err != nil {
		return err
	}
	same, err := w.same(e, st, was, before)
	switch {
	case err != nil:
		return unlessGone(err)
	case !same:
		err = w.found(e)
	case !typ.IsDir() && st.Nlink > 1:
		e.kind = linked
		err = w.visit(e)
	}
	if err != nil || !typ.IsDir() {
		return err
	}
	if before.Mode&unix.S_IFMT != unix.S_IFDIR {
		return w.inside(e, nil, true)
	}
	inside, err := openDirectory(was, e.name)
	if err != nil {
		return err
	}
	defer inside.Close()
	return w.inside(e, inside, !same)
}

// inside walks the directory e; was is the one before, or nil.
func (w *walk) inside(e entry, was *os.File, visited bool) error {
	dir, err := openDirectory(e.dir, e.name)
	if err != nil {
		return unlessGone(err)
	}
	defer dir.Close()
	around := len(w.pending)
	if !visited {
		e.kind = modified
		w.pending = append(w.pending, e)
	}
	err = w.dir(e, dir, was)
	w.pending = w.pending[:min(len(w.pending), around)]
	return err
}

// found visits a change, and the directories around it before.
func (w *walk) found(e entry) error {
	for _, p := range w.pending {
		if err := w.visit(p); err != nil {
			return err
		}
	}
	w.pending = w.pending[:0]
	return w.visit(e)
}

// mountPoints are what the OCI runtime makes where an image has no place for the mounts that each container has, by the
// type that they have then. In dockerd they are a layer of their own below the container's, so nobody sees them as changes.
var mountPoints = map[string]os.FileMode{
	"/dev": os.ModeDir, "/dev/pts": os.ModeDir, "/dev/shm": os.ModeDir, "/proc": os.ModeDir, "/sys": os.ModeDir,
	"/etc": os.ModeDir, "/etc/hosts": 0, "/etc/hostname": 0, "/etc/resolv.conf": 0, "/dev/console": 0,
}

// hides tells whether a new file is not visited for itself.
func (w *walk) hides(e entry, typ os.FileMode) (bool, error) {
	if want, ok := w.hidden[e.path]; !ok || want != typ {
		return false, nil
	}
	st, err := lstat(e.dir, e.name)
	return st != nil && (typ.IsDir() || st.Size == 0), err
}
