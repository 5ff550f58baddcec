package core

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
	"github.com/engine-lite/engine-lite/runtimed/internal/proc"
	"github.com/engine-lite/engine-lite/runtimed/internal/statefile"
)

// awaitLeftovers waits for the OCI runtimes that a killed daemon left running. They finish their work, and only then
// the files below the root are complete. Those that take longer than giveUpGrace are killed.
func (d *Daemon) awaitLeftovers(ctx context.Context) {
	state := filepath.Join(d.opts.Root, ".oci")
	if !statefile.Exists(state) {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, giveUpGrace)
	defer cancel()
	seen := make(map[int]uint64)
	for d.endLeftovers(bounded, state, seen) { // what one has started meanwhile is another
	}
}

// endLeftovers waits for OCI runtimes that are not in seen, and reports whether there were any. Those that still run
// when ctx ends are killed.
func (d *Daemon) endLeftovers(ctx context.Context, state string, seen map[int]uint64) (more bool) {
	reported := d.reportedPids()
	for _, pid := range ociruntime.Running(state) {
		start, err := keeper.StartTime(pid)
		if err != nil || seen[pid] == start || slices.Contains(reported, pid) {
			continue // it has ended, or was killed and doesn't die
		}
		more, seen[pid] = true, start
		if _, err = proc.AwaitEnd(ctx, pid, start); ctx.Err() != nil {
			err = proc.Signal(pid, start, proc.KillSignal)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			d.log.WithError(err).WithField("pid", pid).Error(
				"cannot wait for or kill an OCI runtime that an earlier runtimed started")
		}
	}
	return more
}

// reportedPids returns the processes that OCI runtimes have reported. They are no leftovers, though they can look
// like one: a created container of crun is a fork of crun with the same command line, and an exec of gVisor is a
// runsc that waits for it.
func (d *Daemon) reportedPids() []int {
	var pids []int
	for _, process := range []string{"init", "execs/*"} {
		files, err := filepath.Glob(filepath.Join(d.opts.Root, "*", "*", process, "pid"))
		if err != nil {
			return nil // only a bad pattern is an error
		}
		for _, file := range files {
			if pid, err := statefile.ReadPid(file); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
