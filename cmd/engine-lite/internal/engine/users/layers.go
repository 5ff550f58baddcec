package users

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// directory is a directory of a root filesystem: the descriptors of the layers' directories whose entries it shows,
// upmost first. The caller closes it.
//
// No library that is at hand reads layers without a mount: os.Root and fs.RootPath of github.com/containerd/continuity
// follow links in one layer, and a link may lead to what another layer has.
type directory []int

func (d directory) close() {
	for _, fd := range d {
		_ = unix.Close(fd)
	}
}

// openRoot opens the root directory of layers, upmost first. Layers that do not exist are left out.
func openRoot(layers []string) (directory, error) {
	var root directory
	for _, layer := range layers {
		fd, err := unix.Open(layer, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if exhausted(err) {
			root.close()
			return nil, fmt.Errorf("cannot open layer %s: %w", layer, err)
		}
		if err == nil {
			root = append(root, fd)
		}
	}
	return root, nil
}

// exhausted tells whether an error says nothing of the file: the next try may succeed.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

const (
	maxLinks = 40   // as Linux: MAXSYMLINKS
	maxSteps = 1000 // bounds the work that links to long paths make
)

// open opens a regular file below the root directory d; nil where there is none. isDir tells whether a directory is
// there. Links are followed as in a process whose root is d. No link leads out: each name is looked up by itself, relative
// to an open directory, and is not followed there. So a running container cannot swap a directory for a link meanwhile,
// either.
func (d directory) open(name string) (file *os.File, isDir bool, err error) {
	at := d
	leave := func() {
		if len(at) > 0 && &at[0] != &d[0] {
			at.close()
		}
		at = d
	}
	defer leave()
	var path []string // of at
	rest, links := strings.Split(name, "/"), 0
	for step := 0; len(rest) > 0 && step < maxSteps && links <= maxLinks; step++ {
		name, rest = rest[0], rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			rest = slices.Concat(path[:max(len(path)-1, 0)], rest) // again from the root
			leave()
			path = nil
			continue
		}
		e, err := at.lookup(name)
		if err != nil {
			return nil, false, err
		}
		switch {
		case e.dirs != nil:
			leave()
			at, path = e.dirs, append(path, name)
		case e.link != "":
			links++
			rest = slices.Concat(strings.Split(e.link, "/"), rest)
			if e.link[0] == '/' {
				leave()
				path = nil
			}
		case e.file != nil && len(rest) == 0:
			return e.file, false, nil
		default:
			closeFiles(e.file)
			return nil, false, nil
		}
	}
	return nil, len(rest) == 0, nil
}

// IsDirectory tells whether the layers of a root filesystem show a directory at a path. Links are followed as in a process
// that has this root.
func IsDirectory(layers []string, path string) (bool, error) {
	root, err := openRoot(layers)
	if err != nil {
		return false, err
	}
	defer root.close()
	file, isDir, err := root.open(path)
	closeFiles(file)
	return isDir, err
}

// entry is what a directory has under a name: a directory, the target of a link, or a regular file. All are empty for
// nothing, and for what is never opened: the container may have put a pipe or a device there.
type entry struct {
	dirs directory
	link string
	file *os.File
}

// lookup finds an entry. The upmost layer that has the name decides what it is; a whiteout, which is a device, hides
// the others. A directory also shows the directories of the layers below, down to one that is opaque, or to something
// else in the place (Linux, Documentation/filesystems/overlayfs.rst).
func (d directory) lookup(name string) (entry, error) {
	var dirs directory
	for i, layer := range d {
		fd, err := unix.Openat(layer, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		var st unix.Stat_t
		if err == nil {
			if err = unix.Fstat(fd, &st); err != nil {
				_ = unix.Close(fd)
			}
		}
		switch {
		case exhausted(err):
			dirs.close()
			return entry{}, fmt.Errorf("cannot open %s: %w", name, err)
		case err != nil:
			return entry{dirs: dirs}, nil
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			dirs = append(dirs, fd)
			if i+1 < len(d) && opaque(fd) {
				return entry{dirs: dirs}, nil
			}
			continue
		}
		var e entry
		if dirs == nil {
			e, err = read(fd, st.Mode)
		} else {
			e.dirs = dirs
		}
		_ = unix.Close(fd)
		return e, err
	}
	return entry{dirs: dirs}, nil
}

// read reads a link, or opens a regular file.
func read(fd int, mode uint32) (entry, error) {
	switch mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", target)
		if err != nil {
			return entry{}, nil
		}
		return entry{link: string(target[:n])}, nil
	case unix.S_IFREG:
		f, err := os.OpenFile(ofProcess(fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if exhausted(err) {
			return entry{}, err
		}
		if err == nil {
			return entry{file: f}, nil
		}
	}
	return entry{}, nil
}

// ofProcess is a path of what a descriptor is of, even if it has been moved.
func ofProcess(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// opaque tells whether a directory hides what the layers below have in it.
func opaque(fd int) bool {
	var value [1]byte
	n, err := unix.Getxattr(ofProcess(fd), "trusted.overlay.opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}
