package changes

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/overlays"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/ownthread"
)

const overlayType = "overlay"

// openTree opens the root directory of what mounts show, for reading only. The caller closes it.
func openTree(mounts []mount.Mount) (*os.File, error) {
	if len(mounts) != 1 {
		return nil, fmt.Errorf("a root filesystem of %d mounts", len(mounts))
	}
	layers, options := layersOf(mounts[0])
	switch {
	case len(layers) == 0:
		return nil, fmt.Errorf("a root filesystem of type %s", mounts[0].Type)
	case len(layers) == 1: // overlayfs refuses a single layer
		return openPath(layers[0])
	}
	tree, err := overlays.Mounted(mounts[0]) // for a run of the container
	if err != nil {
		return nil, fmt.Errorf("find the container's root filesystem: %w", err)
	}
	if tree >= 0 {
		defer unix.Close(tree)
		return openPath(fmt.Sprintf("/proc/self/fd/%d", tree))
	}
	return openStack(layers, options)
}

// layersOf returns the directories of a mount, uppermost first, and the options that a read-only stack of them has, too.
func layersOf(m mount.Mount) (layers, options []string) {
	switch m.Type {
	case "bind":
		return []string{m.Source}, nil
	case overlayType:
	default:
		return nil, nil
	}
	var upper []string
	for _, o := range m.Options {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "upperdir":
			upper = []string{value}
		case "lowerdir":
			layers = strings.Split(value, ":")
		case "workdir", "volatile", "ro", "rw": // of a mount that is written to
		default:
			options = append(options, o)
		}
	}
	return append(upper, layers...), options
}

// openStack mounts layers read-only and opens the root directory of the mount. The mount has no place in any tree: it is
// made in a mount namespace that is gone when openStack returns, and ends with the open file. The name of each layer is
// relative, since the kernel takes one page of options.
func openStack(layers, options []string) (*os.File, error) {
	dir, names := overlays.Shorten(layers)
	data := strings.Join(append(options, "lowerdir="+strings.Join(names, ":")), ",")
	var file *os.File
	err := ownthread.Run(func() (err error) {
		file, err = mountAndOpen(dir, data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mount %d layers read-only: %w", len(layers), err)
	}
	return file, nil
}

// mountAndOpen leaves the thread in a mount namespace of its own.
func mountAndOpen(dir, data string) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("keep mounts from the host: %w", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return nil, err
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC)
	if err := unix.Mount(overlayType, ".", overlayType, flags, data); err != nil {
		return nil, err
	}
	file, err := openPath(dir)
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil || st.Type != unix.OVERLAYFS_SUPER_MAGIC {
		return nil, errors.Join(err, file.Close(), errors.New("the mount is not there"))
	}
	return file, nil
}
