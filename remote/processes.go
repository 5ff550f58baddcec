package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Processes returns a task's processes with their command lines. Those come from /proc,
// so the daemon must be in the pid namespace of this process.
//
// The result has only processes that Pids reports before and after their command lines
// were read, so a pid that was used again meanwhile is left out. A runtime with a kernel
// of its own, such as gVisor, may report that kernel's pids. The processes with such
// pids on the host don't belong to the container, and are left out.
func (d *Daemon) Processes(ctx context.Context, id string) ([]libcontainerd.Process, error) {
	init, err := d.Process(ctx, id, libcontainerd.InitProcess)
	if err != nil {
		return nil, err
	}
	before, err := d.Pids(ctx, id)
	if err != nil {
		return nil, err
	}
	var all []libcontainerd.Process
	marks := marksOf(init.Pid)
	for _, pid := range before {
		if !marks.has(pid) {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the command line of process %d: %w", pid, err)
		}
		all = append(all, libcontainerd.Process{Pid: pid, Args: parseCommandLine(line)})
	}
	after, err := d.Pids(ctx, id)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p libcontainerd.Process) bool { return !slices.Contains(after, p.Pid) }), nil
}

// parseCommandLine splits the content of /proc/PID/cmdline, where each argument ends with
// a zero byte. A process can overwrite it, so the last zero byte may be missing.
func parseCommandLine(line []byte) []string {
	if len(line) == 0 {
		return nil
	}
	var args []string
	for arg := range bytes.SplitSeq(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
		args = append(args, string(arg))
	}
	return args
}
