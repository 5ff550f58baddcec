// Package changes reads what a container has changed in the files of its image: the list of the changes, a layer of an
// image that has them, and the archive of all files.
//
// It changes nothing in a container's own mount:
//
//	             overlayfs                              native
//	list, layer  the upper directory, and beside it     the container's directory and that of the
//	             the image's layers, mounted read-only  image, compared file by file
//	archive      the mount of a run, else upper         the container's directory
//	             directory and layers, mounted
//	             read-only as one stack
//
// The upper directory of a running container is in use by the container's mount. A second mount that has it, as a layer
// too, is undefined (Linux, Documentation/filesystems/overlayfs.rst, "Sharing and copying layers"). So an archive is read
// by the mount that is there (package overlays). Reading the directory itself is no mount: overlayfs keeps each change
// there and nowhere else, and its files share their page cache with those of the mount. What changes during the walk may
// be in the archive or not, as with any tar of a living tree.
//
// Each name is looked up by itself, in an open directory, and no link is followed: a container that swaps directories
// for links meanwhile leads the walk to nothing outside. No mount has a place in the host's tree, so a killed engine
// leaves none.
//
// github.com/containerd/continuity/fs.DiffDirChanges reads the upper directory too, but follows the links of the image
// to files of the host, takes the whiteout of a dangling link for a device, and does not know redirects. Its
// fs.Changes walks both trees whole, on threads of its own choice. The writer of containerd's pkg/archive opens files by
// their paths, and keeps no extended attribute but one.
package changes

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
)

// Source is where a container's files are.
type Source struct {
	// Image are the mounts of the image's files, Container those of the container's root filesystem.
	Image, Container []mount.Mount
	// Merged has the trees compared file by file, where the upper directory alone does not tell all: see ErrRedirected.
	Merged bool
}

// ErrRedirected is the error where overlayfs keeps a part of a file elsewhere than in the upper directory: a renamed
// directory (redirect_dir) or a file's content (metacopy). The caller tries again with Source.Merged.
var ErrRedirected = errors.New("the upper directory refers to other layers")

// trees are a container's files and those of its image, open for reading.
type trees struct {
	now *os.File
	// was is nil where nothing was before.
	was *os.File
	// overlay is nil where now has all files of the container.
	overlay *overlay
}

func (t *trees) close() {
	t.now.Close()
	if t.was != nil {
		t.was.Close()
	}
}

// overlay says how an upper directory is read.
type overlay struct {
	// prefix begins the names of overlayfs's own extended attributes.
	prefix string
}

// open opens the trees of a source. The caller closes them.
func (s Source) open() (*trees, error) {
	was, err := openTree(s.Image)
	if err != nil {
		return nil, err
	}
	t := &trees{was: was}
	if upper, ok := upperDirectory(s.Container); ok && !s.Merged {
		t.overlay = &overlay{prefix: overlayPrefix(s.Container)}
		t.now, err = openPath(upper)
	} else {
		t.now, err = openTree(s.Container)
	}
	if err != nil {
		was.Close()
		return nil, err
	}
	return t, nil
}

func upperDirectory(mounts []mount.Mount) (string, bool) {
	for _, m := range mounts {
		for _, o := range m.Options {
			if upper, ok := strings.CutPrefix(o, "upperdir="); ok && m.Type == overlayType {
				return upper, true
			}
		}
	}
	return "", false
}

// Lower returns the mounts of the image below a container's, where those of the container tell: overlayfs's do.
func Lower(container []mount.Mount) ([]mount.Mount, bool) {
	if _, ok := upperDirectory(container); !ok || len(container) != 1 {
		return nil, false
	}
	lower := container[0]
	lower.Options = slices.DeleteFunc(slices.Clone(lower.Options), func(o string) bool {
		return strings.HasPrefix(o, "upperdir=") || strings.HasPrefix(o, "workdir=")
	})
	return []mount.Mount{lower}, true
}

// overlayPrefix: with the option userxattr, overlayfs uses attributes that need no privilege.
func overlayPrefix(mounts []mount.Mount) string {
	if slices.ContainsFunc(mounts, func(m mount.Mount) bool { return slices.Contains(m.Options, "userxattr") }) {
		return "user.overlay."
	}
	return "trusted.overlay."
}
