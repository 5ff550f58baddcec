// Package overlays finds overlay mounts and copies mounts.
//
// An overlay must not be mounted a second time, nor may its upper directory be a layer of another mount meanwhile: what is
// seen then is undefined (Documentation/filesystems/overlayfs.rst, "Sharing and copying layers"). Whoever wants to see the
// files of a container that may run asks Mounted first.
package overlays

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Mounted returns a copy of a mount, in the thread's namespace, of the overlay with the same upper directory; -1 if there
// is none. The mount is found by its upper directory. That works with all OCI runtimes, those with a kernel of their own
// too, and needs no pid, which may have become another process's. The caller closes the descriptor.
func Mounted(m mount.Mount) (int, error) {
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
		tree, err := CloneTree(info.Mountpoint, 0)
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

// Unsynced adds an option to those of an overlay: when the overlay is unmounted, the kernel does not write all that the
// disk below has to write, that of other programs too. It does that in its own time, as after every write. The mount leaves
// a mark, and while that is there the kernel refuses to mount the overlay again: call RemoveMark after the unmount, and
// where the process may have ended before that. ("volatile", Linux 5.10, Documentation/filesystems/overlayfs.rst.)
func Unsynced(options []string) []string {
	return append(slices.Clone(options), "volatile")
}

// RemoveMark removes the mark that an unsynced mount of an overlay with this working directory has left; nil if there is
// none, or no working directory, as with an overlay that nothing can write to.
func RemoveMark(workdir string) error {
	if workdir == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(workdir, "work", "incompat"))
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

// CloneTree returns a copy of what is mounted at a path, which is not mounted anywhere: see open_tree(2). The caller
// closes the descriptor.
func CloneTree(path string, flags uint) (int, error) {
	for {
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// Shorten makes layers relative to the deepest directory that has all of them below it: mount(2) takes no more options
// than fit into a page. The directory has to be the working directory of the thread that mounts.
func Shorten(layers []string) (dir string, short []string) {
	dir = filepath.Dir(layers[0])
	for _, l := range layers {
		for dir != "/" && !strings.HasPrefix(l, dir+"/") {
			dir = filepath.Dir(dir)
		}
	}
	short = make([]string, len(layers))
	for n, l := range layers {
		short[n] = strings.TrimPrefix(l, strings.TrimSuffix(dir, "/")+"/")
	}
	return dir, short
}
