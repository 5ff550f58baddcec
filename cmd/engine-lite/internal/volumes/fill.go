package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
	continuity "github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mountpoints"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Fill copies what the image of a new container has at the places of its volumes into those volumes that are empty,
// with owners, modes, times, links, extended attributes and holes. rootfs are the mounts of the container's root
// filesystem, which nobody uses yet; they are mounted only if there is something to copy. Fill waits for another
// container's copy into the same volume. A volume that gets nothing gets its directory. Fill is called after the
// transaction with Reserve, and once.
//
// The content is put together where no container sees it, then the record says so, then each entry is renamed into the
// volume. An engine that is killed before the record says so leaves the volume empty; the next engine finishes the
// rest.
//
// A volume that the engine has mounted for another container stays as it is: its content would have to be put together
// where that container can exchange directories for links that lead out of the volume.
func (l *Local) Fill(ctx context.Context, r *record.Record, rootfs []mount.Mount) (err error) {
	h := resources.Holder{Container: r.ID, Lease: "fill"}
	defer func() { err = errors.Join(err, l.Free(context.WithoutCancel(ctx), h)) }()
	image := &imageRoot{mounts: rootfs, place: func() (string, error) { return l.places.Place(h, "rootfs", true) }}
	for _, m := range r.Mounts {
		if m.Type != record.MountVolume {
			continue
		}
		if !m.CopyUp {
			if err := l.make(ctx, m.Name); err != nil {
				return err
			}
			continue
		}
		if err := l.fill(ctx, m, h, image); err != nil {
			return fmt.Errorf("failed to copy the image's %s into volume %s: %w", m.Destination, m.Name, err)
		}
	}
	return nil
}

// make makes the directory of a volume that was made with a container: users look at it before the first start.
func (l *Local) make(ctx context.Context, name string) error {
	unlock, err := l.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := l.get(name); err != nil {
		return err
	}
	return l.prepare(ctx, name)
}

// imageRoot is a root filesystem that is mounted when it is first needed. It is unmounted with its place.
type imageRoot struct {
	mounts []mount.Mount
	place  func() (string, error)
	at     string
}

// directory returns the path of the host for a directory of the image; empty where the image has no directory there.
// Symbolic links lead to where they lead in the image.
func (i *imageRoot) directory(path string) (string, error) {
	if i.at == "" {
		at, err := i.place()
		if err != nil {
			return "", err
		}
		if err := mount.All(mount.RemoveVolatileOption(i.mounts), at); err != nil {
			return "", fmt.Errorf("cannot mount the root filesystem: %w", err)
		}
		i.at = at
	}
	found, err := continuity.RootPath(i.at, path)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(found)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return "", nil
	}
	return found, err
}

func (l *Local) fill(ctx context.Context, m record.Mount, h resources.Holder, image *imageRoot) error {
	unlock, err := l.lock(ctx, m.Name)
	if err != nil {
		return err
	}
	defer unlock()
	v, err := l.get(m.Name)
	if err != nil {
		return err
	}
	if v.mounted() { // it may not be possible before the start, and is not needed where there is nothing to copy
		if from, err := image.directory(m.Destination); err != nil || from == "" {
			return err
		}
	}
	v, err = l.open(ctx, m.Name, h)
	if err != nil || v.mounted() && l.others(m.Name, h) {
		return err
	}
	target, err := l.target(m.Name, m.Subpath)
	if errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) { // the start says so, as in dockerd
		return nil
	}
	if err != nil {
		return err
	}
	defer target.Close()
	if empty, err := isEmpty(target); err != nil || !empty {
		return err
	}
	from, err := image.directory(m.Destination)
	if err != nil || from == "" {
		return err
	}
	f := &Fill{Token: token(), Subpath: m.Subpath}
	if f.Within, err = l.onOtherMount(target); err != nil {
		return err
	}
	if f.Within { // nobody would find the content there without the record
		if v, err = l.setFill(ctx, v, CopyFilling, f); err != nil {
			return err
		}
		l.did("fill: begun")
	}
	if err := l.stage(ctx, target, f, from); err != nil {
		return err
	}
	l.did("fill: staged")
	f.Complete = true
	if v, err = l.setFill(ctx, v, CopyFilling, f); err != nil {
		return err
	}
	l.did("fill: complete")
	_, err = l.merge(ctx, v, target)
	return err
}

// target opens the directory of a volume into which content goes. The error is NotFound where the volume has no such
// directory.
func (l *Local) target(name, subpath string) (*os.File, error) {
	if subpath == "" {
		subpath = "."
	}
	return mountpoints.OpenBeneath(l.data(name), subpath, unix.O_RDONLY|unix.O_DIRECTORY)
}

func isEmpty(dir *os.File) (bool, error) {
	names, err := dir.Readdirnames(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("directory of a volume: %w", err)
	}
	return len(names) == 0, nil
}

// onOtherMount tells whether a directory is on another mount than the engine's own directories, so that nothing can be
// renamed from one to the other.
func (l *Local) onOtherMount(dir *os.File) (bool, error) {
	own, err := os.Open(filepath.Join(l.root, fillingDir))
	if err != nil {
		return false, fmt.Errorf("directory of volumes: %w", err)
	}
	defer own.Close()
	var ids [2]uint64
	for i, f := range []*os.File{own, dir} {
		var st unix.Statx_t
		if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
			return false, fmt.Errorf("directory of a volume: %w", err)
		}
		if st.Mask&unix.STATX_MNT_ID == 0 { // before Linux 5.8
			return true, nil
		}
		ids[i] = st.Mnt_id
	}
	return ids[0] != ids[1], nil
}

// setFill writes down how far the copy into a volume has come.
func (l *Local) setFill(ctx context.Context, v Volume, state CopyUp, f *Fill) (Volume, error) {
	err := l.store.Update(ctx, func(tx *store.Tx) (err error) {
		if v, err = load(tx, v.Name); err != nil {
			return err
		}
		v.CopyUp, v.Fill = state, nil
		if f != nil {
			now := *f // the caller goes on changing it
			v.Fill = &now
		}
		return Records.Put(tx, v.Name, v)
	})
	return v, err
}

// stagingName is where the content is in a volume, if it has to be there.
func stagingName(f *Fill) string { return ".engine-lite-fill-" + f.Token }

// staging opens the directory in which the content is put together.
func (l *Local) staging(target *os.File, f *Fill) (*os.File, error) {
	at, name := unix.AT_FDCWD, filepath.Join(l.root, fillingDir, f.Token)
	if f.Within {
		at, name = int(target.Fd()), stagingName(f)
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// tree is the directory in the staging directory that has the content. Only root gets through the latter, whoever may
// write to the former.
const tree = "tree"

// stage copies a directory to the staging directory.
func (l *Local) stage(ctx context.Context, target *os.File, f *Fill, from string) error {
	path := filepath.Join(l.root, fillingDir, f.Token)
	if f.Within {
		path = filepath.Join(mountpoints.DescriptorPath(target), stagingName(f))
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	dir, err := l.staging(target, f)
	if err != nil {
		return err
	}
	defer dir.Close()
	to := filepath.Join(mountpoints.DescriptorPath(dir), tree)
	err = copyTree(ctx, to, from)
	if err != nil {
		return errors.Join(err, os.RemoveAll(to), os.Remove(path))
	}
	return dir.Sync()
}

// finish ends a copy that an earlier engine has begun. The caller holds the lock of the name, and has prepared and
// mounted the volume.
func (l *Local) finish(ctx context.Context, v Volume) (Volume, error) {
	target, err := l.target(v.Name, v.Fill.Subpath)
	if errdefs.IsNotFound(err) { // a container has removed it meanwhile
		return l.setFill(ctx, v, CopyNone, nil)
	}
	if err != nil {
		return v, err
	}
	defer target.Close()
	if v.Fill.Complete {
		return l.merge(ctx, v, target)
	}
	if err := l.unstage(target, v.Fill); err != nil {
		return v, err
	}
	return l.setFill(ctx, v, CopyNone, nil)
}

// merge moves complete content into the volume. What a container has made there meanwhile stays as it is.
func (l *Local) merge(ctx context.Context, v Volume, target *os.File) (Volume, error) {
	dir, err := l.staging(target, v.Fill)
	if errors.Is(err, fs.ErrNotExist) { // all of it was moved
		return l.setFill(ctx, v, CopyFilled, nil)
	}
	if err != nil {
		return v, err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), tree, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return v, fmt.Errorf("content for volume %s: %w", v.Name, err)
	}
	content := os.NewFile(uintptr(fd), tree)
	defer content.Close()
	path := filepath.Join(mountpoints.DescriptorPath(dir), tree)
	of := entry{from: path, to: mountpoints.DescriptorPath(target) + "/."} // before the renames, which change the time
	if err := syscall.Lstat(path, &of.st); err != nil {
		return v, fmt.Errorf("content for volume %s: %w", v.Name, err)
	}
	names, err := content.Readdirnames(-1)
	if err != nil {
		return v, fmt.Errorf("content for volume %s: %w", v.Name, err)
	}
	for _, name := range names {
		if err := move(content, target, name); err != nil {
			return v, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		l.did("fill: entry")
	}
	if err := errors.Join(of.finish(), target.Sync()); err != nil {
		return v, fmt.Errorf("volume %s: %w", v.Name, err)
	}
	l.did("fill: merged")
	if err := l.unstage(target, v.Fill); err != nil {
		return v, err
	}
	l.did("fill: unstaged")
	return l.setFill(ctx, v, CopyFilled, nil)
}

// move renames an entry of one directory into another, unless that has an entry of the name.
func move(from, to *os.File, name string) error {
	err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // a file system without the flag, such as NFS
		var st unix.Stat_t
		if err = unix.Fstatat(int(to.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(err, unix.ENOENT) {
			err = unix.Renameat(int(from.Fd()), name, int(to.Fd()), name)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot move %s: %w", name, err)
	}
	return nil
}

// unstage deletes the staging directory.
func (l *Local) unstage(target *os.File, f *Fill) error {
	if !f.Within {
		return l.discard(filepath.Join(l.root, fillingDir, f.Token))
	}
	dir, err := l.staging(target, f)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	return errors.Join(os.RemoveAll(filepath.Join(mountpoints.DescriptorPath(dir), tree)),
		unix.Unlinkat(int(target.Fd()), stagingName(f), unix.AT_REMOVEDIR))
}
