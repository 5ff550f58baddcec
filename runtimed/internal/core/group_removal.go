package core

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// removeGroups removes the planned control groups of a task that still exist, after the OCI runtime has deleted its
// state. Processes in them are killed. Groups that existed before the task, or that somebody else uses, are left.
// Errors: DeadlineExceeded if processes do not die within giveUpGrace; a later call goes on.
func (t *containerTask) removeGroups(ctx context.Context) error {
	d := t.c.d
	planned := t.record.Planned
	left := slices.DeleteFunc(slices.Clone(planned.Dirs),
		func(dir string) bool { return slices.Contains(planned.Existing, dir) || !statefile.Exists(dir) })
	if len(left) == 0 {
		return nil // as after every delete that the OCI runtime did as a whole
	}
	ctx, cancel := context.WithTimeout(ctx, giveUpGrace)
	defer cancel()
	owner, err := cgroup.Remove(ctx, left, func(members map[int]uint64) string { return t.otherIn(members, left) })
	if err != nil {
		return fmt.Errorf("cannot remove the control groups of container %q: %w", t.c.id, err)
	}
	if owner != "" {
		d.log.WithField("container", t.c.id).Warnf(
			"control groups are not removed, since %s is in them: %v", owner, left)
	}
	return nil
}

// otherIn returns the name of another user of the control groups, whose processes must not be killed; empty without
// one.
func (t *containerTask) otherIn(members map[int]uint64, dirs []string) string {
	d := t.c.d
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
		if err := statefile.ReadJSON(file, &r); err != nil && !errdefs.IsNotFound(err) {
			return "perhaps " + file
		}
		if slices.ContainsFunc(r.Planned.Dirs, func(dir string) bool {
			return slices.ContainsFunc(dirs, func(of string) bool { return cgroup.IsBelow(dir, of) })
		}) {
			return "container " + filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}
