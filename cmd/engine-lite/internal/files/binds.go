package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/continuity/fs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/overlays"
)

// bind is a bind mount that is not mounted anywhere yet.
type bind struct {
	at   string
	tree int
	dir  bool
}

type binds []bind

func (list binds) close() {
	for _, b := range list {
		_ = unix.Close(b.tree)
	}
}

// cloneBinds copies what is at the sources of bind mounts. The caller closes the list, also after an error.
func cloneBinds(mounts []specs.Mount) (list binds, err error) {
	for _, m := range mounts {
		if m.Type != "bind" {
			continue
		}
		b, err := cloneBind(m)
		if err != nil {
			return list, mountError("open the source of a mount", m.Source, err)
		}
		list = append(list, b)
	}
	return list, nil
}

func cloneBind(m specs.Mount) (bind, error) {
	var recursive uint
	if slices.Contains(m.Options, "rbind") {
		recursive = unix.AT_RECURSIVE
	}
	tree, err := overlays.CloneTree(m.Source, recursive)
	if err != nil {
		return bind{}, err
	}
	b := bind{at: filepath.Join("/", m.Destination), tree: tree}
	var st unix.Stat_t
	err = errors.Join(
		confine(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE), unix.Fstat(tree, &st), b.restrict(m.Options))
	if err != nil {
		_ = unix.Close(tree)
		return bind{}, err
	}
	b.dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	return b, nil
}

// restrict makes the mount read-only if the options say so: "ro" this mount alone, "rro" those below it too.
func (b bind) restrict(options []string) error {
	readOnly := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	switch {
	case slices.Contains(options, "rro"):
		return unix.MountSetattr(b.tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, readOnly)
	case isReadOnly(options):
		return unix.MountSetattr(b.tree, "", unix.AT_EMPTY_PATH, readOnly)
	}
	return nil
}

// isReadOnly tells whether the options of a mount make it read-only: the last one that says something counts.
func isReadOnly(options []string) bool {
	ro := false
	for _, o := range options {
		switch o {
		case "ro", "rro":
			ro = true
		case "rw":
			ro = false
		}
	}
	return ro
}

// attach mounts all, in a thread whose root is the container's. Links in the paths are those of the container, and so
// lead to somewhere in the container. Missing mount points are made, as by dockerd and by OCI runtimes.
func (list binds) attach() error {
	for _, b := range list {
		if err := b.attach(); err != nil {
			return fmt.Errorf("cannot show the mount %s of the container: %v", b.at, err)
		}
	}
	return nil
}

func (b bind) attach() error {
	path, err := fs.RootPath("/", b.at) // a link may lead to what is not there yet
	if err != nil {
		return err
	}
	dir := path
	if !b.dir {
		dir = filepath.Dir(path)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) && !b.dir {
		made, makeErr := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o755)
		switch {
		case makeErr == nil:
			_ = unix.Close(made)
		case !errors.Is(makeErr, unix.EEXIST): // the OCI runtime may have made it meanwhile
			return makeErr
		}
		at, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return placeTree(b.tree, at, "", unix.MOVE_MOUNT_T_EMPTY_PATH)
}
