// Package mounts is all that is mounted into a container beside its root filesystem: today the files of /etc, tmpfs,
// and a /dev/shm that the container shares.
package mounts

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// List returns the mounts of a container in the order in which they are made. dir has the files of /etc that WriteEtc
// wrote. further are those of what the container has taken.
func List(dir string, r *record.Record, further []specs.Mount) []specs.Mount {
	h := r.HostConfig
	mounts := slices.Clone(further)
	if from := shmSource(dir, h); from != "" {
		mounts = append(mounts, specs.Mount{
			Destination: hostShm, Type: "bind", Source: from, Options: []string{"rbind", "nosuid", "noexec", "nodev"},
		})
	}
	etcOptions := []string{"rbind", "rprivate"}
	if h.ReadonlyRootfs {
		etcOptions = append(etcOptions, "ro")
	}
	for _, name := range etcFiles {
		mounts = append(mounts, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(dir, name), Options: etcOptions,
		})
	}
	for path, options := range h.Tmpfs {
		mounts = append(mounts, specs.Mount{
			Destination: path, Type: "tmpfs", Source: "tmpfs", Options: tmpfsOptions(options),
		})
	}
	slices.SortFunc(mounts, fromTheRoot)
	return mounts
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

// fromTheRoot orders mounts so that none hides another: what is nearer to the root is mounted first.
func fromTheRoot(a, b specs.Mount) int {
	depth := func(m specs.Mount) int { return strings.Count(filepath.Clean(m.Destination), "/") }
	return cmp.Or(depth(a)-depth(b), strings.Compare(a.Destination, b.Destination))
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

func tmpfsOptions(options string) []string {
	list := []string{"noexec", "nosuid", "nodev"}
	if options != "" {
		list = append(list, strings.Split(options, ",")...)
	}
	return list
}
