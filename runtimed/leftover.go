package runtimed

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/keeper"
)

// awaitLeftovers waits for the OCI runtimes that a killed daemon has left running: they finish what they do, and only then what is below the root
// tells what there is. Those that take longer than giveUpGrace are killed.
func (d *Daemon) awaitLeftovers(ctx context.Context) {
	state := filepath.Join(d.opts.Root, ".oci")
	if !exists(state) {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, giveUpGrace)
	defer cancel()
	seen := make(map[int]uint64)
	for d.endLeftovers(bounded, state, seen) { // what one has started meanwhile is another
	}
}

// endLeftovers waits for the OCI runtimes that it hasn't seen, and tells whether there were any. Those that are left when ctx ends are killed.
func (d *Daemon) endLeftovers(ctx context.Context, state string, seen map[int]uint64) (more bool) {
	told := d.toldPids()
	for _, pid := range runtimesOf(state) {
		start, err := keeper.StartTime(pid)
		if err != nil || seen[pid] == start || slices.Contains(told, pid) {
			continue // it has ended, or was killed and doesn't die
		}
		more, seen[pid] = true, start
		if _, err = awaitOrphan(ctx, pid, start); ctx.Err() != nil {
			err = signalProcess(pid, start, killSignal)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			d.log.WithError(err).WithField("pid", pid).Error("an OCI runtime of an earlier daemon is still there")
		}
	}
	return more
}

// toldPids lists the processes that OCI runtimes have told of, which are no leftovers though they may look like one: a created container of crun's that waits for its
// start is a fork of crun, command line and all, and an exec of gVisor's is a runsc that waits for it.
func (d *Daemon) toldPids() []int {
	var pids []int
	for _, process := range []string{"init", "execs/*"} {
		files, err := filepath.Glob(filepath.Join(d.opts.Root, "*", "*", process, "pid"))
		if err != nil {
			return nil // only a bad pattern is an error
		}
		for _, file := range files {
			if pid, err := readPid(file); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// runtimesOf lists the processes that are OCI runtimes with a state directory below this one.
func runtimesOf(state string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && hasRoot(line, state) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hasRoot tells whether a command line (proc(5), /proc/PID/cmdline: each argument ends with a zero byte) has the option --root with a
// directory below this one.
func hasRoot(line []byte, state string) bool {
	args := strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
	for i, arg := range args[:len(args)-1] {
		if arg == "--root" && strings.HasPrefix(args[i+1], state+"/") {
			return true
		}
	}
	return false
}
