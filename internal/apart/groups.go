package apart

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// groupRoot has all hierarchies of version 1 below it, or is the one of version 2.
	groupRoot = "/sys/fs/cgroup"
	// leaf is the group of the tests themselves below the place's root. In version 2 a group
	// with processes can't give controllers to groups below it (cgroups(7)).
	leaf = "tests"
	// ours is the control group above those of engine-lite's containers.
	ours = "engine-lite"
	// settle bounds how long processes and groups may take to go.
	settle = 5 * time.Second
)

// hierarchies are the directories on which control groups are mounted.
func hierarchies() ([]string, error) {
	for _, pattern := range []string{groupRoot, groupRoot + "/*"} {
		files, err := filepath.Glob(pattern + "/cgroup.procs")
		if err != nil {
			return nil, err
		}
		var dirs []string
		for _, file := range files {
			dir := filepath.Dir(file)
			if info, err := os.Lstat(dir); err == nil && info.IsDir() { // no link to another
				dirs = append(dirs, dir)
			}
		}
		if len(dirs) > 0 {
			return dirs, nil
		}
	}
	return nil, fmt.Errorf("no control groups are mounted on %s", groupRoot)
}

// makeGroups makes the root of the place and the leaf in each hierarchy.
func makeGroups(group string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := giveControllers(dir); err != nil {
			return err
		}
		for _, below := range []string{group, filepath.Join(group, leaf)} {
			path := filepath.Join(dir, below)
			if err := os.Mkdir(path, 0o755); err != nil {
				return err
			}
			if err := inheritProcessors(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// giveControllers has the groups of version 2 below a root get all controllers, as the OCI
// runtimes do. Version 1 has no such file.
func giveControllers(dir string) error {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(controllers)) {
		// One that can't be given is not the tests' either.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0)
	}
	return nil
}

// inheritProcessors gives a new group of version 1 its parent's processors, without which it
// takes no process.
func inheritProcessors(dir string) error {
	if exists(filepath.Join(dir, "cgroup.controllers")) {
		return nil // version 2: an empty list means the parent's
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), value, 0)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// joinGroups moves this process into a group of each hierarchy.
func joinGroups(group string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return err
		}
	}
	return nil
}

// remountGroups has each hierarchy show the namespace's root as its root.
func remountGroups() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		// "id parent device root directory options ... - type source super-options"
		front, back, _ := strings.Cut(line, " - ")
		fields, of := strings.Fields(front), strings.Fields(back)
		if len(fields) < 5 || len(of) < 3 || of[0] != "cgroup" && of[0] != "cgroup2" {
			continue
		}
		options := strings.Join(slices.DeleteFunc(strings.Split(of[2], ","), func(option string) bool {
			return option == "rw" || option == "ro" || strings.HasPrefix(option, "release_agent=")
		}), ",")
		if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", fields[4], err)
		}
		if err := unix.Mount(of[0], fields[4], of[0], unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
			return fmt.Errorf("cannot mount %s again: %w", fields[4], err)
		}
	}
	return nil
}

// removeGroups removes the root of the place with all below it. Processes in it are killed. They
// are an error, and so is a group of engine-lite.
func removeGroups(group string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	killed := map[int]bool{}
	for _, dir := range dirs {
		root := filepath.Join(dir, group)
		if exists(filepath.Join(root, ours)) {
			errs = append(errs, fmt.Errorf("left behind: control group /%s of %s", ours, dir))
		}
		for deadline := time.Now().Add(settle); ; <-time.After(20 * time.Millisecond) {
			err := removeTree(root, killed)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				errs = append(errs, err)
				break
			}
		}
	}
	for pid := range killed {
		errs = append(errs, fmt.Errorf("left behind: process %d, which was killed", pid))
	}
	return errors.Join(errs...)
}

// removeTree removes a group and those below it, and kills what is in them.
func removeTree(root string, killed map[int]bool) error {
	var groups []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(groups) {
		if state := filepath.Join(dir, "freezer.state"); exists(state) { // in version 1 the frozen don't die
			_ = os.WriteFile(state, []byte("THAWED"), 0) // else rmdir fails
		}
		data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 && unix.Kill(pid, unix.SIGKILL) == nil {
				killed[pid] = true
			}
		}
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
