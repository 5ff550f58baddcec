package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// trees are searched with all directories below: the engine, runtimes and clients keep
// files there.
var trees = []string{
	"/run/engine-lite", "/var/lib/engine-lite", "/run/runc", "/run/crun", "/run/containerd", "/var/lib/containerd",
	"/run/docker", "/var/lib/docker", "/etc/docker", "/opt/containerd", "~/.docker",
}

// tops are directories in which programs leave files. Only their first level is listed.
var tops = []string{"/", "/tmp", "/var/tmp", "/dev/shm", "/dev", "/run", "/run/lock", "/var/lib", "/var/log", "/etc",
	"/usr/sbin", "~"}

// cgroupRoot has all hierarchies of version 1, or the one of version 2.
const cgroupRoot = "/sys/fs/cgroup"

func files() (map[string]string, error) {
	found := map[string]string{}
	for _, dir := range tops {
		paths, err := entries(home(dir))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			add(found, path)
		}
	}
	for _, dir := range trees {
		if err := walk(home(dir), func(path string, _ fs.DirEntry) { add(found, path) }); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// add adds a path with its kind. A path that is gone by now is left out.
func add(found map[string]string, path string) {
	if info, err := os.Lstat(path); err == nil {
		found[path] = path + " (" + kindOf(info.Mode()) + ")"
	}
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeNamedPipe != 0:
		return "FIFO"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeSymlink != 0:
		return "link"
	default:
		return "file"
	}
}

// home replaces a leading ~.
func home(path string) string {
	dir, err := os.UserHomeDir()
	if err != nil || path[0] != '~' {
		return path
	}
	return filepath.Join(dir, path[1:])
}

func cgroups() (map[string]string, error) {
	found := map[string]string{}
	err := walk(cgroupRoot, func(path string, d fs.DirEntry) {
		if d.IsDir() {
			found[path] = path
		}
	})
	return found, err
}

// walk calls visit for the directory and all paths below. Paths that do not exist, or are
// removed meanwhile, are left out.
func walk(dir string, visit func(path string, d fs.DirEntry)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		visit(path, d)
		return nil
	})
}
