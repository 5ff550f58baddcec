package apart

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// emptied are the directories of what a reboot ends; layered are those of which the content is
// seen, and in which nothing is changed.
var (
	emptied = []string{"/run", "/dev/shm"}
	layered = []string{"/etc", "/opt", "/var/lib"}
)

// mountsBefore are those that the tests began with.
var mountsBefore []string

// Hide gives this process's mount namespace, which must not be the machine's, the directories
// that [Enter] speaks of. The process should have one thread that cares, or be about to exec.
func Hide() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	// What is written to the layered ones is in a file system that is covered afterwards.
	const written = "/run"
	if err := mountMemory(written); err != nil {
		return err
	}
	for _, dir := range layered {
		if err := mountLayer(dir, filepath.Join(written, dir)); err != nil {
			return err
		}
	}
	for _, dir := range emptied {
		if err := mountMemory(dir); err != nil {
			return err
		}
	}
	if err := os.Mkdir("/run/lock", 0o777); err != nil {
		return err
	}
	for _, dir := range []string{"/run/lock", "/dev/shm"} {
		if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
			return err
		}
	}
	return os.Chdir(here) // perhaps in one of them
}

func mountMemory(dir string) error {
	if err := unix.Mount("apart", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount an empty %s: %w", dir, err)
	}
	return nil
}

// mountLayer mounts a directory above itself; written gets what is written to it.
func mountLayer(dir, written string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	upper, work := filepath.Join(written, "upper"), filepath.Join(written, "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o700)); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	if err := unix.Mount("apart", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("cannot mount a layer above %s: %w", dir, err)
	}
	return nil
}

// Left lists what is ours and was left in the place: mounts, network namespaces with a name,
// and the default directories of engine-lite. There is nothing to list outside of the place.
func Left() []string {
	if !strings.HasPrefix(os.Getenv(variable), inside) {
		return nil
	}
	now, err := mounts()
	if err != nil {
		return []string{err.Error()}
	}
	left := slices.DeleteFunc(now, func(dir string) bool { return slices.Contains(mountsBefore, dir) })
	for i, dir := range left {
		left[i] = "mount " + dir
	}
	for _, pattern := range []string{"/run/engine-lite", "/var/lib/engine-lite", "/run/netns/*"} {
		paths, _ := filepath.Glob(pattern) // the patterns are right
		left = append(left, paths...)
	}
	return left
}

// mounts lists the directories on which something is mounted.
func mounts() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			dirs = append(dirs, fields[4])
		}
	}
	return dirs, nil
}
