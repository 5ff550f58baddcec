package mounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mounts/resolve"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// mount returns a mount of the record in the form of the OCI spec, and the propagation that it needs of the container's
// root; empty for any.
func mount(m record.Mount, at Place) (made specs.Mount, rootfsPropagation string, err error) {
	if m.Type == record.MountTmpfs {
		made = specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs", Options: tmpfsOptions(m.Tmpfs)}
		if m.ReadOnly {
			made.Options = append(made.Options, "ro")
		}
		return made, "", nil
	}
	made = specs.Mount{Destination: m.Destination, Type: "bind", Source: m.Source, Options: []string{"rbind"}}
	if m.Type != record.MountBind {
		if made.Source = at.Sources[m.Destination]; made.Source == "" {
			return made, "", fmt.Errorf("nothing of the host is there for the %s at %s", m.Type, m.Destination)
		}
	}
	path, isDir, err := source(m, made.Source)
	if err != nil {
		return made, "", err
	}
	if m.Type == record.MountBind {
		if m.Propagation, rootfsPropagation, err = propagation(m, path, at.Own); err != nil {
			return made, "", err
		}
	}
	if m.NonRecursive {
		made.Options[0] = "bind"
	}
	if !isDir {
		m.NonRecursive = true // nothing is below a file, and crun 1.8.1 fails on a file with "rro"
	}
	access, err := access(m, at.RecursiveReadOnly)
	made.Options = append(made.Options, access...)
	if m.Propagation != "" {
		made.Options = append(made.Options, m.Propagation)
	}
	return made, rootfsPropagation, err
}

// propagation finds out the propagation of a bind whose source is this path of the host, without symbolic links, and
// the propagation that it needs of the container's root.
func propagation(m record.Mount, path string, own []string) (of, rootfs string, err error) {
	if m.Propagation, err = resolve.Propagation(m, path, own); err != nil {
		return "", "", err
	}
	needs, rootfs := needed(m.Propagation)
	if needs == nil {
		return m.Propagation, "", nil
	}
	at, has, err := mountOf(path)
	if err != nil {
		return "", "", fmt.Errorf("source of the mount at %s: %w", m.Destination, err)
	}
	if slices.ContainsFunc(strings.Fields(has), func(word string) bool {
		return slices.ContainsFunc(needs, func(need string) bool { return strings.HasPrefix(word, need) })
	}) {
		return m.Propagation, rootfs, nil
	}
	if !m.PropagationAsked {
		return m.Propagation, "", nil // the engine has chosen it, and the host cannot have it
	}
	kind := "shared"
	if len(needs) > 1 {
		kind = "shared or slave"
	}
	return "", "", classed.Errorf(errdefs.ErrInvalidArgument,
		"path %s is mounted on %s but it is not a %s mount", m.Source, at, kind)
}

// needed returns the words of which a source's mount has one in mountinfo (proc_pid_mountinfo(5)) if it can have a
// propagation, and the propagation of the container's root with that; nil for a propagation that any mount can have.
func needed(propagation string) (words []string, rootfs string) {
	switch strings.TrimPrefix(propagation, "r") {
	case "shared":
		return []string{"shared:"}, "shared"
	case "slave":
		return []string{"shared:", "master:"}, "rslave"
	}
	return nil, ""
}

// mountOf returns the mount point of the host at which a path is, and the fields of mountinfo that say its propagation.
// The path has no symbolic links.
func mountOf(path string) (at, propagation string, err error) {
	list, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return "", "", err
	}
	for _, m := range list {
		if len(m.Mountpoint) >= len(at) { // of several at one place, the last is on top
			at, propagation = m.Mountpoint, m.Optional
		}
	}
	if at == "" {
		return "", "", fmt.Errorf("%s is on no mount", path)
	}
	return at, propagation, nil
}

// source looks at the source of a mount, and returns where the host's symbolic links lead from there, today perhaps to
// another place than at the last start. It makes a source that is missing if -v has named it. The source of --mount has
// to be there: InvalidArgument.
func source(m record.Mount, at string) (path string, isDir bool, err error) {
	path, isDir, err = look(at)
	if errors.Is(err, os.ErrNotExist) && m.Type == record.MountBind {
		if !m.CreateSource {
			return "", false, resolve.Missing(at)
		}
		if err := os.MkdirAll(at, 0o755); err != nil {
			return "", false, fmt.Errorf("error while creating mount source path '%s': %w", at, err)
		}
		path, isDir, err = look(at)
	}
	if err != nil {
		return "", false, fmt.Errorf("source of the mount at %s: %w", m.Destination, err)
	}
	return path, isDir, nil
}

// look returns a path without symbolic links, and whether a directory is there.
func look(at string) (path string, isDir bool, err error) {
	info, err := os.Stat(at)
	if err != nil {
		return "", false, err
	}
	path, err = filepath.EvalSymlinks(at)
	if errors.Is(err, os.ErrNotExist) || strings.HasPrefix(at, "/proc/") { // links there lead to what has no path: proc(5)
		return at, info.IsDir(), nil
	}
	return path, info.IsDir(), err
}

// Exists tells whether the host has a path. A symbolic link that leads nowhere does not exist.
func Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// access are the options of a mount that is read-only. "ro" is beside "rro" for an OCI runtime that passes over the
// latter.
func access(m record.Mount, recursive error) ([]string, error) {
	switch {
	case !m.ReadOnly:
		return nil, nil
	case m.ReadOnlyForceRecursive && recursive != nil:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "%v", recursive)
	case m.ReadOnlyNonRecursive, m.NonRecursive, recursive != nil:
		return []string{"ro"}, nil
	}
	return []string{"ro", "rro"}, nil
}

// recursiveRuntimes are the OCI runtimes that have the option "rro": Debian's runc 1.1.5 and crun 1.8.1 do.
var recursiveRuntimes = []string{"runc", "crun", "io.containerd.runc.v2"}

// RecursiveReadOnly returns why a container cannot have read-only mounts below a read-only mount; nil if it can.
// runtime is the name or the path of its OCI runtime.
func RecursiveReadOnly(runtime string) error {
	if !slices.Contains(recursiveRuntimes, filepath.Base(runtime)) {
		return fmt.Errorf("rro is not supported by runtime %q", runtime)
	}
	readOnly := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, readOnly)
	if errors.Is(err, unix.EBADF) { // the kernel knows the call, and has looked for the mount
		return nil
	}
	return fmt.Errorf("rro is not supported: mount_setattr: %w (kernel is older than 5.12?)", err)
}
