package files

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/overlays"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// mountRoot mounts the root filesystem at the Root's directory. The caller is in a mount namespace of its own.
//
// An overlay that is mounted on the host, for a run of the container, is shown here once more by a bind mount: see package
// overlays. The container's own namespace has more than is wanted: tmpfs, /proc and what else the container mounts.
func (r *Root) mountRoot() error {
	c := r.config
	if len(c.Rootfs) != 1 {
		return classed.Errorf(errdefs.ErrNotImplemented, "a root filesystem of %d mounts", len(c.Rootfs))
	}
	m := c.Rootfs[0]
	switch m.Type {
	case "bind", "rbind":
		tree, err := overlays.CloneTree(m.Source, 0)
		if err != nil {
			return mountError("open", m.Source, err)
		}
		defer unix.Close(tree)
		return mountError("bind", m.Source, placeTree(tree, unix.AT_FDCWD, c.Dir, 0))
	case "overlay":
		return r.mountOverlay(m)
	}
	return classed.Errorf(errdefs.ErrNotImplemented, "a root filesystem of the type %s", m.Type)
}

func (r *Root) mountOverlay(m mount.Mount) error {
	c := r.config
	tree, err := overlays.Mounted(m)
	if err != nil {
		return fmt.Errorf("find the container's root filesystem: %w", err)
	}
	if tree >= 0 {
		defer unix.Close(tree)
		return mountError("bind", c.Dir, placeTree(tree, unix.AT_FDCWD, c.Dir, 0))
	}
	if c.MountedOnly {
		return ErrNotMounted
	}
	// Close would wait for the disk, and for what others write to it. A mount that fails may have left its mark too. On a
	// full disk there is no room for the mark.
	r.workdir = workdir(m.Options)
	if err := overlays.RemoveMark(r.workdir); err != nil {
		return mountError("remove a mark of", c.Dir, err)
	}
	err = mountWith(c.Dir, overlays.Unsynced(m.Options))
	if errors.Is(err, unix.ENOSPC) {
		err = mountWith(c.Dir, m.Options)
	}
	return mountError("mount", c.Dir, err)
}

func mountWith(at string, options []string) error {
	dir, options := shorten(options)
	if err := unix.Chdir(dir); err != nil { // of this thread
		return err
	}
	data := strings.Join(options, ",")
	if len(data) >= os.Getpagesize() { // mount(2) would cut it off
		return unix.E2BIG
	}
	return unix.Mount("overlay", at, "overlay", 0, data)
}

func workdir(options []string) string {
	for _, o := range options {
		if dir, ok := strings.CutPrefix(o, "workdir="); ok {
			return dir
		}
	}
	return ""
}

// shorten makes the options of an overlay with many layers fit into a page, which is all that mount(2) takes: the lower
// directories become relative to a directory, which has to be the working directory then.
func shorten(options []string) (dir string, short []string) {
	if len(strings.Join(options, ",")) < os.Getpagesize()-512 {
		return "/", options
	}
	i := slices.IndexFunc(options, func(o string) bool { return strings.HasPrefix(o, "lowerdir=") })
	if i < 0 {
		return "/", options
	}
	dir, lower := overlays.Shorten(strings.Split(strings.TrimPrefix(options[i], "lowerdir="), ":"))
	short = slices.Clone(options)
	short[i] = "lowerdir=" + strings.Join(lower, ":")
	return dir, short
}

// placeTree mounts such a copy at a path.
func placeTree(tree, dir int, path string, flags int) error {
	return unix.MoveMount(tree, "", dir, path, unix.MOVE_MOUNT_F_EMPTY_PATH|flags)
}
