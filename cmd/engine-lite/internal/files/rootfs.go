package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// mountRoot mounts the root filesystem at c.Dir. The caller is in a mount namespace of its own.
//
// An overlay must not be mounted a second time: what two mounts of one upper directory show is undefined
// (Documentation/filesystems/overlayfs.rst, "Sharing and copying layers"). So an overlay that is mounted on the host,
// for a run of the container, is shown here once more by a bind mount. The mount is found by its upper directory. That
// works with all runtimes, those with a kernel of their own too, and needs no pid, which may have become another
// process's. The container's own namespace has more than is wanted: tmpfs, /proc and what else the container mounts.
func (c Config) mountRoot() error {
	if len(c.Rootfs) != 1 {
		return classed.Errorf(errdefs.ErrNotImplemented, "a root filesystem of %d mounts", len(c.Rootfs))
	}
	m := c.Rootfs[0]
	switch m.Type {
	case "bind", "rbind":
		tree, err := cloneTree(m.Source, 0)
		if err != nil {
			return mountError("open", m.Source, err)
		}
		defer unix.Close(tree)
		return mountError("bind", m.Source, placeTree(tree, unix.AT_FDCWD, c.Dir, 0))
	case "overlay":
		return c.mountOverlay(m)
	}
	return classed.Errorf(errdefs.ErrNotImplemented, "a root filesystem of the type %s", m.Type)
}

func (c Config) mountOverlay(m mount.Mount) error {
	tree, err := mountedOverlay(m)
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
	dir, options := shorten(m.Options)
	if err := unix.Chdir(dir); err != nil { // of this thread
		return mountError("chdir", dir, err)
	}
	data := strings.Join(options, ",")
	if len(data) >= os.Getpagesize() { // mount(2) would cut it off
		return mountError("mount", c.Dir, unix.E2BIG)
	}
	return mountError("mount", c.Dir, unix.Mount("overlay", c.Dir, "overlay", 0, data))
}

// mountedOverlay returns a copy of a mount of the overlay with the same upper directory, in the thread's namespace; -1
// if there is none.
func mountedOverlay(m mount.Mount) (int, error) {
	i := slices.IndexFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "upperdir=") })
	if i < 0 {
		return -1, nil // nothing can write to it
	}
	list, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return info.FSType != "overlay" || info.Root != "/" || !hasOption(info.VFSOptions, m.Options[i]), false
	})
	if err != nil {
		return -1, err
	}
	for _, info := range list {
		tree, err := cloneTree(info.Mountpoint, 0)
		if err != nil {
			continue // another mount hides it
		}
		var st unix.Stat_t
		if err := unix.Fstat(tree, &st); err == nil && st.Dev == unix.Mkdev(uint32(info.Major), uint32(info.Minor)) {
			return tree, nil
		}
		_ = unix.Close(tree)
	}
	return -1, nil
}

// mangled undoes how the kernel writes options to mountinfo (seq_show_option in include/linux/seq_file.h).
var mangled = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\054`, ",", `\075`, "=")

func hasOption(list, option string) bool {
	for o := range strings.SplitSeq(list, ",") {
		if mangled.Replace(o) == option {
			return true
		}
	}
	return false
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
	lower := strings.Split(strings.TrimPrefix(options[i], "lowerdir="), ":")
	dir = filepath.Dir(lower[0])
	for _, l := range lower {
		for dir != "/" && !strings.HasPrefix(l, dir+"/") {
			dir = filepath.Dir(dir)
		}
	}
	for n, l := range lower {
		lower[n] = strings.TrimPrefix(l, strings.TrimSuffix(dir, "/")+"/")
	}
	short = slices.Clone(options)
	short[i] = "lowerdir=" + strings.Join(lower, ":")
	return dir, short
}

// cloneTree returns a copy of what is mounted at a path, which is not mounted anywhere: see open_tree(2).
func cloneTree(path string, flags uint) (int, error) {
	for {
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// placeTree mounts such a copy at a path.
func placeTree(tree, dir int, path string, flags int) error {
	return unix.MoveMount(tree, "", dir, path, unix.MOVE_MOUNT_F_EMPTY_PATH|flags)
}
