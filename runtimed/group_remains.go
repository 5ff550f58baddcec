package runtimed

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

	"github.com/engine-lite/engine-lite/keeper"
)

// groupLook is how often it is looked whether killed processes have left their control group: nothing announces that in version 1.
const groupLook = 10 * time.Millisecond

// removeGroups removes the control groups that were planned for a task and that are still there, now that the OCI runtime has nothing of it any more: what is below
// them too, after the processes in them were killed. Groups that were there before the task, or that somebody else is in, are left. Errors: DeadlineExceeded for
// processes that don't die within giveUpGrace; a call later goes on.
func (d *Daemon) removeGroups(ctx context.Context, t *containerTask) error {
	planned := t.record.Planned
	left := slices.DeleteFunc(slices.Clone(planned.Dirs), func(dir string) bool { return slices.Contains(planned.Foreign, dir) || !exists(dir) })
	if len(left) == 0 {
		return nil // as after every delete that the OCI runtime did as a whole
	}
	ctx, cancel := context.WithTimeout(ctx, giveUpGrace)
	defer cancel()
	look := time.NewTicker(groupLook)
	defer look.Stop()
	for {
		busy := removeTrees(left)
		if busy == nil {
			return nil
		}
		members := membersOf(left)
		if who := d.otherIn(t, members, left); who != "" {
			d.log.WithField("container", t.c.id).Warnf("control groups are left, since %s is in them: %v", who, left)
			return nil
		}
		if err := killMembers(members, left); err != nil {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot remove the control groups of container %q: %w: %w", t.c.id, busy, ctx.Err())
		}
	}
}

// otherIn names one that control groups also belong to, of whom nothing may be killed; empty if there is none.
func (d *Daemon) otherIn(t *containerTask, members map[int]uint64, dirs []string) string {
	for pid, start := range members {
		switch {
		case pid == os.Getpid(), pid == os.Getppid():
			return "runtimed"
		case d.exits.awaits(pid, start):
			return "a process of another container"
		}
	}
	// One that is only being created is in its record and nowhere else.
	files, err := filepath.Glob(filepath.Join(d.opts.Root, "*", "*", taskFile))
	if err != nil {
		return err.Error()
	}
	for _, file := range files {
		if file == t.file() {
			continue
		}
		var r taskRecord
		if err := readJSON(file, &r); err != nil && !errdefs.IsNotFound(err) {
			return "perhaps " + file
		}
		if slices.ContainsFunc(r.Planned.Dirs, func(dir string) bool {
			return slices.ContainsFunc(dirs, func(of string) bool { return isBelow(dir, of) })
		}) {
			return "container " + filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}

// isBelow tells whether a directory is this one or below it.
func isBelow(dir, of string) bool { return dir == of || strings.HasPrefix(dir, of+"/") }

// membersOf lists the processes in control groups and those below them, with their start times. What has gone meanwhile is left out.
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

// pidsIn reads a control group's processes. One of another pid namespace is 0 there (cgroups(7)), and nobody's to kill.
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

// killMembers kills processes that are still in these control groups: a pid that somebody else has got meanwhile is not there a second time.
func killMembers(members map[int]uint64, dirs []string) error {
	trees := treesOf(dirs)
	for _, dir := range trees {
		for _, pid := range pidsIn(dir) {
			start, ok := members[pid]
			if !ok {
				continue // it is looked at first, in the next round
			}
			if err := signalProcess(pid, start, killSignal); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
	}
	for _, dir := range trees { // in version 1 the frozen don't die
		if file := filepath.Join(dir, "freezer.state"); exists(file) {
			if err := os.WriteFile(file, []byte("THAWED"), 0); err != nil && exists(file) {
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
