package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Kind implements resources.Provider.
func (l *Local) Kind() string { return "volumes" }

// Acquire makes the volumes of a container ready, and returns the path of each. A directory that is missing is made
// again, a file system that options name is mounted if nobody else has done so, and a copy that an earlier engine left is
// finished.
func (l *Local) Acquire(ctx context.Context, r *record.Record, h resources.Holder) (resources.Contribution, error) {
	c := resources.Contribution{Sources: map[string]string{}}
	for n, m := range r.Mounts {
		if m.Type != record.MountVolume {
			continue
		}
		source, err := l.acquire(ctx, m, h, n)
		if err != nil {
			return resources.Contribution{}, errors.Join(err, l.Free(context.WithoutCancel(ctx), h))
		}
		c.Sources[m.Destination] = source
	}
	return c, nil
}

// acquire returns the path of the host for the mount with this number.
func (l *Local) acquire(ctx context.Context, m record.Mount, h resources.Holder, n int) (string, error) {
	unlock, err := l.lock(ctx, m.Name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := l.open(ctx, m.Name, h); err != nil {
		return "", err
	}
	if m.Subpath == "" {
		return l.data(m.Name), nil
	}
	return l.bindSubpath(l.data(m.Name), m.Subpath, h, n)
}

// open makes a volume ready for a holder. The caller holds the lock of the name, and frees the holder also after an
// error.
func (l *Local) open(ctx context.Context, name string, h resources.Holder) (Volume, error) {
	v, err := l.get(name)
	if err != nil {
		return v, err
	}
	if err := l.prepare(ctx, name); err != nil {
		return v, err
	}
	if v.mounted() {
		l.hold(name, h)
		if err := mountOnce(ctx, v, l.data(name)); err != nil {
			return v, err
		}
		l.did("acquire: mounted")
	}
	if v.Fill != nil {
		return l.finish(ctx, v)
	}
	return v, nil
}

func (l *Local) hold(name string, h resources.Holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[h] == nil {
		l.held[h] = map[string]bool{}
	}
	l.held[h][name] = true
}

// others tells whether a holder that is not this one has a volume that the engine mounts.
func (l *Local) others(name string, h resources.Holder) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, names := range l.held {
		if other != h && names[name] {
			return true
		}
	}
	return false
}

// Started appends an event for each volume that is mounted.
func (l *Local) Started(tx *store.Tx, r *record.Record) error {
	for _, m := range r.Mounts {
		if m.Type == record.MountVolume {
			tx.Append(event("mount", m.Name, map[string]string{
				"driver": m.Driver, "container": r.ID, "destination": m.Destination,
				"read/write": strconv.FormatBool(!m.ReadOnly), "propagation": m.Propagation,
			}))
		}
	}
	return nil
}

// Ended appends an event for each volume that is mounted no more.
func (l *Local) Ended(tx *store.Tx, r *record.Record) error {
	for _, m := range r.Mounts {
		if m.Type == record.MountVolume {
			tx.Append(event("unmount", m.Name, map[string]string{"driver": m.Driver, "container": r.ID}))
		}
	}
	return nil
}

// Free unmounts what nobody else has. It does nothing for volumes that are directories only.
func (l *Local) Free(ctx context.Context, h resources.Holder) error {
	errs := []error{l.unbind(h)}
	l.mu.Lock()
	var names []string
	for name := range l.held[h] {
		names = append(names, name)
	}
	l.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		errs = append(errs, l.release(ctx, name, h))
	}
	return errors.Join(errs...)
}

// release ends the use of a volume by a holder, which keeps it after an error.
func (l *Local) release(ctx context.Context, name string, h resources.Holder) error {
	unlock, err := l.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if !l.others(name, h) {
		if err := detach(l.data(name)); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held[h], name)
	if len(l.held[h]) == 0 {
		delete(l.held, h)
	}
	return nil
}

// Dispose removes what a failed Free may have left.
func (l *Local) Dispose(_ context.Context, h resources.Holder) error { return l.unbind(h) }

// Adopt takes up the volumes of a run that goes on. They are mounted.
func (l *Local) Adopt(_ context.Context, r *record.Record, h resources.Holder) error {
	for _, m := range r.Mounts {
		if m.Type != record.MountVolume {
			continue
		}
		v, err := l.get(m.Name)
		if errdefs.IsNotFound(err) {
			continue // its data may be gone; the run goes on
		}
		if err != nil {
			return err
		}
		if v.mounted() {
			l.hold(m.Name, h)
		}
	}
	return nil
}

// bindSubpath mounts a part of a volume where nobody can exchange it, and returns that path. Free and Dispose unmount
// it. The part is looked up once, and held by its descriptor from then on. So it does not matter what a container that
// uses the volume does with the path meanwhile.
func (l *Local) bindSubpath(data, subpath string, h resources.Holder, n int) (string, error) {
	part, err := openSubpath(data, subpath, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer part.Close()
	dir := filepath.Join(l.root, mountsDir, h.String())
	if err := makeDir(dir, 0o700); err != nil {
		return "", err
	}
	at := filepath.Join(dir, strconv.Itoa(n))
	info, err := part.Stat()
	if err != nil {
		return "", fmt.Errorf("part of a volume: %w", err)
	}
	if info.IsDir() {
		err = makeDir(at, 0o700)
	} else {
		err = os.WriteFile(at, nil, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("place for a part of a volume: %w", err)
	}
	l.did("acquire: place")
	if err := unix.Mount(descriptorPath(part), at, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("cannot mount %s of volume %s: %w", subpath, data, err)
	}
	l.did("acquire: bound")
	return at, nil
}

// descriptorPath is a path that leads to an open file, whatever its name is now.
func descriptorPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// openSubpath opens a part of a volume. Symbolic links are followed inside of the volume only. Errors: NotFound, and
// InvalidArgument for a path that leads out.
func openSubpath(data, subpath string, flags uint64) (*os.File, error) {
	root, err := os.OpenFile(data, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("directory of a volume: %w", err)
	}
	defer root.Close()
	path := filepath.Join(data, subpath)
	fd, err := unix.Openat2(int(root.Fd()), subpath, &unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, invalid("path concatenation escapes the base directory, base: %s, subpath: %s", data, subpath)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, classed.Errorf(errdefs.ErrNotFound, "cannot access path %s: lstat %s: %v", path, path, err)
	case err != nil:
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// unbind unmounts the parts of volumes that a holder has, and what Fill has mounted.
func (l *Local) unbind(h resources.Holder) error {
	dir := filepath.Join(l.root, mountsDir, h.String())
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mounts of %s: %w", h, err)
	}
	var errs []error
	for _, entry := range entries {
		at := filepath.Join(dir, entry.Name())
		err := detach(at)
		if err == nil {
			err = os.Remove(at)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mounts of %s: %w", h, err)
	}
	return os.Remove(dir)
}
