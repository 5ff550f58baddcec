// Package mountpoints has the places of the host at which the engine mounts something for a holder. Each place carries the
// name of its holder, so that what a crash leaves is found without a record.
package mountpoints

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
	log "github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
)

// Dir is a directory of places: DIR/HOLDER/NAME. Its methods may be called from any goroutine; those of one holder are
// called one after the other.
type Dir struct {
	path string
	// step is called after each step that a crash can follow.
	step func(name string)
}

// Open returns a directory of places, which it makes where that is missing. step is called after each step that a crash
// can follow; nil for nothing.
func Open(path string, step func(name string)) (*Dir, error) {
	if step == nil {
		step = func(string) {}
	}
	return &Dir{path, step}, makeDir(path)
}

func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("directory of mount points: %w", err)
	}
	return nil
}

// Path is where the holder's places are. The directory may be missing.
func (d *Dir) Path(h resources.Holder) string { return filepath.Join(d.path, h.String()) }

// Place makes a place of a holder. A directory is mounted on a directory, and anything else on a file.
func (d *Dir) Place(h resources.Holder, name string, isDir bool) (string, error) {
	if err := makeDir(d.Path(h)); err != nil {
		return "", err
	}
	at := filepath.Join(d.Path(h), name)
	var err error
	if isDir {
		err = makeDir(at)
	} else {
		err = os.WriteFile(at, nil, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("mount point: %w", err)
	}
	d.step("place")
	return at, nil
}

// BindPart mounts a part of a tree at a place of a holder, and returns the place. The part is looked up once, and held by
// its descriptor from then on. So it does not matter what others do with the path meanwhile. Errors: see [OpenBeneath].
func (d *Dir) BindPart(tree, part string, h resources.Holder, name string) (string, error) {
	f, err := OpenBeneath(tree, part, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("part of a tree: %w", err)
	}
	at, err := d.Place(h, name, info.IsDir())
	if err != nil {
		return "", err
	}
	if err := unix.Mount(DescriptorPath(f), at, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("cannot mount %s of %s: %w", part, tree, err)
	}
	d.step("bound")
	return at, nil
}

// Release unmounts all that is mounted for a holder, and removes the places. A holder without a place is no error.
func (d *Dir) Release(h resources.Holder) error {
	entries, err := os.ReadDir(d.Path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount points of %s: %w", h, err)
	}
	var errs []error
	for _, entry := range entries {
		at := filepath.Join(d.Path(h), entry.Name())
		err := Detach(at)
		if err == nil {
			err = os.Remove(at)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mount points of %s: %w", h, err)
	}
	return os.Remove(d.Path(h))
}

// Sweep releases the places of holders that are not alive. A directory that is not named by a holder stays.
func (d *Dir) Sweep(alive func(resources.Holder) bool) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("mount points: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		h, ok := resources.ParseHolder(entry.Name())
		switch {
		case !ok:
			log.WithField("path", filepath.Join(d.path, entry.Name())).Warn(
				"there is something among the mount points that the engine has not made; it stays")
		case !alive(h):
			errs = append(errs, d.Release(h))
		}
	}
	return errors.Join(errs...)
}

// Detach unmounts what is mounted at a path, all of it if there are several on top of each other. Nothing, and no path,
// are no error. Who has files open there keeps them. The mounts are made private first: what is mounted below a bind of
// a shared mount would be unmounted at the place where it comes from, too (mount_namespaces(7)).
func Detach(path string) error {
	for {
		if err := unix.Mount("", path, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // no mount point
				return nil
			}
			return fmt.Errorf("cannot unmount %s: %w", path, err)
		}
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", path, err)
		}
	}
}

// DetachBelow unmounts what is mounted at a path or below it, so that a deletion does not go there.
func DetachBelow(path string) error {
	list, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil {
		return fmt.Errorf("mounts below %s: %w", path, err)
	}
	slices.SortFunc(list, func(a, b *mountinfo.Info) int { return cmp.Compare(len(b.Mountpoint), len(a.Mountpoint)) })
	for _, m := range list {
		if err := Detach(m.Mountpoint); err != nil {
			return err
		}
	}
	return nil
}
