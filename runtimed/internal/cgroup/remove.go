package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/retry"
	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// IsBelow tells whether a directory is this one or below it.
func IsBelow(dir, of string) bool { return dir == of || strings.HasPrefix(dir, of+"/") }

// membersOf returns the processes in control groups and in the groups below them, with their start times. A process
// that ends meanwhile is left out.
func membersOf(dirs []string) map[int]uint64 {
	members := make(map[int]uint64)
	for _, dir := range treesOf(dirs) {
		for _, pid := range pidsIn(dir) {
			if start, err := keeper.StartTime(pid); err == nil {
				members[pid] = start
			}
		}
	}
	return members
}

// pidsIn returns the processes of a control group. The kernel shows a process of another pid namespace as 0
// (cgroups(7)); such a process is left out.
func pidsIn(dir string) []int {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")) // a group that has gone has none
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killMembers kills processes that are still in the control groups. A pid that another process has by now is not in
// them again.
func killMembers(members map[int]uint64, dirs []string) error {
	trees := treesOf(dirs)
	for _, dir := range trees {
		for _, pid := range pidsIn(dir) {
			start, ok := members[pid]
			if !ok {
				continue // it is looked at first, in the next round
			}
			if err := proc.Signal(pid, start, proc.KillSignal); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
	}
	for _, dir := range trees { // in version 1 the frozen don't die
		if file := filepath.Join(dir, "freezer.state"); statefile.Exists(file) {
			if err := os.WriteFile(file, []byte("THAWED"), 0); err != nil && statefile.Exists(file) {
				return err
			}
		}
	}
	return nil
}

// treesOf lists directories and all below them, each before what it holds.
func treesOf(dirs []string) []string {
	var all []string
	for _, root := range dirs {
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, path)
			}
			return nil // what can't be read has gone
		})
	}
	return all
}

// removeTrees removes control groups with all below them, as far as they are empty.
func removeTrees(dirs []string) error {
	var errs []error
	for _, dir := range slices.Backward(treesOf(dirs)) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// groupLook is the interval at which control groups are checked for killed processes that are still in them. Version
// 1 announces nothing.
const groupLook = 10 * time.Millisecond

// Remove kills the processes in control groups and in the groups below them, and removes all of these groups.
// otherOwner is asked before anything is killed. If it returns a name, somebody else uses the groups too: nothing is
// removed, and Remove returns that name. Errors: the kernel's; ctx's if processes have not died when it ends.
func Remove(
	ctx context.Context, dirs []string, otherOwner func(members map[int]uint64) string,
) (owner string, err error) {
	for {
		busy := removeTrees(dirs)
		if busy == nil {
			return "", nil
		}
		members := membersOf(dirs)
		if owner := otherOwner(members); owner != "" {
			return owner, nil
		}
		if err := killMembers(members, dirs); err != nil {
			return "", err
		}
		if cause := retry.Sleep(ctx, groupLook); cause != nil {
			return "", fmt.Errorf("%w: %w", busy, cause)
		}
	}
}
