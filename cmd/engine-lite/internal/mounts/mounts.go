// Package mounts is all that is mounted into a container beside its root filesystem: binds, volumes and images, tmpfs,
// the files of /etc, and a /dev/shm that the container shares.
package mounts

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/mounts/resolve"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Place says where the parts of a run's mounts are.
type Place struct {
	// Dir is the container's directory. It has the files of /etc that WriteEtc wrote.
	Dir string
	// Own are the engine's directories in which it mounts.
	Own []string
	// Sources are the paths of the host where volumes and images are, or their subpaths, by their destinations in the
	// container.
	Sources map[string]string
	// RecursiveReadOnly is why the OCI runtime cannot make the mounts below a bind mount read-only; nil where it can.
	RecursiveReadOnly error
}

// List returns the mounts of a container's run in the order in which they are made, and the propagation of the
// container's root that they need; empty for the OCI runtime's default. Sources of -v that are missing are made. They
// stay if the run fails: the next one finds them.
//
// Errors: InvalidArgument for a source that is not there or has not the propagation that the user wants, and those of
// the system.
func List(r *record.Record, at Place) (list []specs.Mount, rootfsPropagation string, err error) {
	tmpfs, taken := resolve.TmpfsPaths(r.HostConfig), map[string]bool{}
	var propagations []string
	for _, m := range r.Mounts {
		if tmpfs[m.Destination] {
			continue // --tmpfs wins
		}
		made, propagation, err := mount(m, at)
		if err != nil {
			return nil, "", err
		}
		taken[m.Destination] = true
		list, propagations = append(list, made), append(propagations, propagation)
	}
	for _, m := range ours(r.HostConfig, at.Dir) {
		if !taken[m.Destination] {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b specs.Mount) int { return resolve.FromTheRoot(a.Destination, b.Destination) })
	for _, wanted := range []string{"shared", "rslave"} { // who receives from a shared root is content with more
		if slices.Contains(propagations, wanted) {
			return list, wanted, nil
		}
	}
	return list, "", nil
}

// ours are the mounts of each container: the files of /etc, and a /dev/shm that it shares. --tmpfs is among them.
func ours(h *record.HostConfig, dir string) []specs.Mount {
	var list []specs.Mount
	if from := shmSource(dir, h); from != "" {
		list = append(list, specs.Mount{
			Destination: hostShm, Type: "bind", Source: from, Options: []string{"rbind", "nosuid", "noexec", "nodev"},
		})
	}
	etcOptions := []string{"rbind", "rprivate"}
	if h.ReadonlyRootfs {
		etcOptions = append(etcOptions, "ro")
	}
	for _, name := range etcFiles {
		list = append(list, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(dir, name), Options: etcOptions,
		})
	}
	for path, options := range h.Tmpfs {
		list = append(list, specs.Mount{
			Destination: path, Type: "tmpfs", Source: "tmpfs", Options: tmpfsOptions(strings.Split(options, ",")),
		})
	}
	return list
}

// shmSource is the directory of the host that is the container's /dev/shm; empty where that is no directory of the host.
func shmSource(dir string, h *record.HostConfig) string {
	switch {
	case h.IpcMode.IsHost():
		return hostShm
	case h.ShmOnHost():
		return shmDir(dir)
	}
	return ""
}

// Check returns why a container cannot have its mounts, while the request can still be refused.
func Check(r *record.Record) error {
	for path, options := range r.HostConfig.Tmpfs {
		switch {
		case !filepath.IsAbs(path):
			return classed.Errorf(errdefs.ErrInvalidArgument, "invalid mount path: '%s' mount path must be absolute", path)
		case filepath.Clean(path) == "/":
			return classed.Errorf(errdefs.ErrInvalidArgument, "invalid specification: destination can't be '/'")
		}
		if err := checkTmpfsOptions(options); err != nil {
			return err
		}
	}
	_, err := hostsFile(r)
	return err
}

// tmpfsNames are the options of a tmpfs (tmpfs(5)) and of mount(8) that a container may choose.
var tmpfsNames = []string{
	"rw", "ro", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "remount", "mand", "nomand", "dirsync",
	"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "bind", "rbind",
	"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
	"size", "nr_blocks", "nr_inodes", "mode", "uid", "gid", "mpol",
}

func checkTmpfsOptions(options string) error {
	for option := range strings.SplitSeq(options, ",") {
		name, _, _ := strings.Cut(option, "=")
		if option != "" && !slices.Contains(tmpfsNames, name) {
			return classed.Errorf(errdefs.ErrInvalidArgument, "invalid tmpfs option [%q]", option)
		}
	}
	return nil
}

// tmpfsOptions are those of a tmpfs of a container, with what the user says behind the defaults.
func tmpfsOptions(options []string) []string {
	list := append([]string{"noexec", "nosuid", "nodev"}, options...)
	return slices.DeleteFunc(list, func(option string) bool { return option == "" })
}
