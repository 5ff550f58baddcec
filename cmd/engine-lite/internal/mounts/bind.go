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
	if m.Type == record.MountBind {
		if m, rootfsPropagation, err = bind(m, at.Own); err != nil {
			return made, "", err
		}
	} else if made.Source = at.Sources[m.Destination]; made.Source == "" {
		return made, "", fmt.Errorf("nothing of the host is there for the %s at %s", m.Type, m.Destination)
	}
	if m.NonRecursive {
		made.Options[0] = "bind"
	}
	if info, err := os.Stat(made.Source); err == nil && !info.IsDir() {
		m.NonRecursive = true // nothing is below a file, and crun 1.8.1 fails on a file with "rro"
	}
	access, err := access(m, at.RecursiveReadOnly)
	made.Options = append(made.Options, access...)
	if m.Propagation != "" {
		made.Options = append(made.Options, m.Propagation)
	}
	return made, rootfsPropagation, err
}

// bind makes the source of a bind mount, or checks that it is there, and finds out its propagation. The path may lead
// over symbolic links of the host, today to another place than at the last start.
func bind(m record.Mount, own []string) (record.Mount, string, error) {
	if err := source(m); err != nil {
		return m, "", err
	}
	path, err := filepath.EvalSymlinks(m.Source)
	if err != nil {
		return m, "", fmt.Errorf("source of the mount at %s: %w", m.Destination, err)
	}
	if m.Propagation, err = resolve.Propagation(m, path, own); err != nil {
		return m, "", err
	}
	needs, rootfs := needed(m.Propagation)
	if needs == nil {
		return m, "", nil
	}
	at, propagation, err := mountOf(path)
	if err != nil {
		return m, "", fmt.Errorf("source of the mount at %s: %w", m.Destination, err)
	}
	if slices.ContainsFunc(strings.Fields(propagation), func(word string) bool {
		return slices.ContainsFunc(needs, func(need string) bool { return strings.HasPrefix(word, need) })
	}) {
		return m, rootfs, nil
	}
	if !m.PropagationAsked {
		return m, "", nil // the engine has chosen it, and the host cannot have it
	}
	kind := "shared"
	if len(needs) > 1 {
		kind = "shared or slave"
	}
	return m, "", classed.Errorf(errdefs.ErrInvalidArgument,
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

// source makes the source of a bind if that is missing and -v has named it. The source of --mount has to be there:
// InvalidArgument.
func source(m record.Mount) error {
	there, err := Exists(m.Source)
	switch {
	case err != nil:
		return fmt.Errorf("source of the mount at %s: %w", m.Destination, err)
	case there:
		return nil
	case !m.CreateSource:
		return resolve.Missing(m.Source)
	}
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		return fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
	}
	return nil
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
