// Package resolve makes the list of a container's mounts out of what the user, the image and other containers say. It
// reads nothing: functions of its caller say what the host and other containers have.
package resolve

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Host is what the meaning of a request depends on.
type Host struct {
	// Own are the engine's directories in which it mounts.
	Own []string
	// Exists tells whether the host has a path. The path is absolute.
	Exists func(path string) (bool, error)
	// Mounts returns those of another container, which a user calls ref.
	Mounts func(ref string) ([]record.Mount, error)
	// Image returns the id of the image that a user calls ref.
	Image func(ref string) (string, error)
	// NewName returns the name of a new anonymous volume.
	NewName func() string
	// ReadOnlyNonRecursive tells that a mount which is read-only leaves the mounts below it as they are. Before API
	// 1.44 all were so.
	ReadOnlyNonRecursive bool
}

// localDriver is the driver of volumes for which nobody names one.
const localDriver = "local"

// Mounts returns the mounts of a container in the order in which they are made: none hides another. anonymous are the
// paths of volumes without a name, by the user and by the image.
//
// What a user says of a path takes the place of what comes with --volumes-from. The paths in anonymous give way to
// both, and to a tmpfs. A mount of the list may have the path of a tmpfs of HostConfig.Tmpfs: the tmpfs is mounted then.
//
// Errors: InvalidArgument, in Docker's words, and those of the host's functions.
func Mounts(h *record.HostConfig, anonymous map[string]struct{}, host Host) ([]record.Mount, error) {
	at := map[string]record.Mount{}
	for _, from := range h.VolumesFrom {
		if err := addDonor(at, from, host); err != nil {
			return nil, err
		}
	}
	said, err := asked(h, host)
	if err != nil {
		return nil, err
	}
	maps.Copy(at, said)
	tmpfs := TmpfsPaths(h)
	for _, path := range slices.Sorted(maps.Keys(anonymous)) {
		m := record.Mount{
			Type: record.MountVolume, Destination: filepath.Join("/", path), CopyUp: true, Anonymous: true,
			Driver: cmp.Or(h.VolumeDriver, localDriver),
		}
		if _, taken := at[m.Destination]; taken || tmpfs[m.Destination] {
			continue
		}
		if m.Destination == "/" {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "%s", targetIsRoot)
		}
		m.Name = host.NewName()
		at[m.Destination] = m
	}
	return slices.SortedFunc(maps.Values(at), func(a, b record.Mount) int {
		return FromTheRoot(a.Destination, b.Destination)
	}), nil
}

// FromTheRoot orders paths so that the one nearer to the root is first.
func FromTheRoot(a, b string) int {
	depth := func(path string) int { return strings.Count(filepath.Clean(path), "/") }
	return cmp.Or(depth(a)-depth(b), strings.Compare(a, b))
}

// TmpfsPaths are the paths of HostConfig.Tmpfs.
func TmpfsPaths(h *record.HostConfig) map[string]bool {
	paths := map[string]bool{}
	for path := range h.Tmpfs {
		paths[filepath.Clean(path)] = true
	}
	return paths
}

// addDonor adds the mounts of another container, as --volumes-from names it.
func addDonor(at map[string]record.Mount, from string, host Host) error {
	ref, readOnly, err := parseFrom(from)
	if err != nil {
		return err
	}
	list, err := host.Mounts(ref)
	if err != nil {
		return err
	}
	for _, m := range list {
		m.ReadOnly = m.ReadOnly || readOnly
		m.Mode, m.CopyUp = "", false
		m.CreateSource = m.Type == record.MountBind
		at[m.Destination] = m
	}
	return nil
}

// asked are the mounts of -v and --mount, by their paths in the container.
func asked(h *record.HostConfig, host Host) (map[string]record.Mount, error) {
	at, tmpfs := map[string]record.Mount{}, TmpfsPaths(h)
	add := func(m record.Mount, target string) error {
		if _, taken := at[m.Destination]; taken {
			return classed.Errorf(errdefs.ErrInvalidArgument, "Duplicate mount point: %s", target)
		}
		m, err := complete(m, host)
		at[m.Destination] = m
		return err
	}
	for _, raw := range h.Binds {
		m, err := parseBind(raw, h.VolumeDriver)
		if err != nil {
			return nil, err
		}
		if tmpfs[m.Destination] {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Duplicate mount point: %s", m.Destination)
		}
		if err := add(m, m.Destination); err != nil {
			return nil, err
		}
	}
	if err := Check(h.Mounts, host.Exists); err != nil {
		return nil, err
	}
	for _, req := range h.Mounts {
		m := mountOf(&req)
		m.CreateSource = req.Bind != nil && req.Bind.CreateMountpoint
		if err := add(m, req.Target); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// complete fills in what depends on the host.
func complete(m record.Mount, host Host) (record.Mount, error) {
	var err error
	switch m.Type {
	case record.MountBind:
		m.ReadOnlyNonRecursive = m.ReadOnlyNonRecursive || m.ReadOnly && host.ReadOnlyNonRecursive
		m.Propagation, err = Propagation(m, m.Source, host.Own)
	case record.MountVolume:
		m.Driver = cmp.Or(m.Driver, localDriver)
		if m.Driver == localDriver {
			m.Mode = cmp.Or(m.Mode, "z") // dockerd shows the label that a volume has under SELinux
		}
		switch {
		case m.Name == "":
			m.Name, m.Anonymous = host.NewName(), true
		case m.Driver == localDriver:
			err = CheckVolumeName(m.Name)
		}
	case record.MountImage:
		m.Source, err = host.Image(m.Name)
	case record.MountTmpfs:
	}
	return m, err
}

// Propagation returns the propagation of a bind mount whose source is this path of the host. Without a word of the
// user, a source over or below one of the engine's own directories gets rslave: what the engine unmounts goes away in the
// container too, and nothing stays pinned. There a user may only choose between rslave and rshared: InvalidArgument.
func Propagation(m record.Mount, source string, own []string) (string, error) {
	i := slices.IndexFunc(own, func(dir string) bool { return within(dir, source) || within(source, dir) })
	switch {
	case i < 0, m.Propagation == "rslave", m.Propagation == "rshared":
		return m.Propagation, nil
	case m.PropagationAsked:
		return "", classed.Errorf(errdefs.ErrInvalidArgument,
			"invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is "+
				"within the daemon root, daemon root: %q, bind mount source: %q, propagation: %q",
			own[i], source, m.Propagation)
	}
	return "rslave", nil
}

// within tells whether a path is a directory or below it. Both are absolute.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
