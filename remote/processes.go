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

// Processes are a task's processes with their command lines, which come from
// /proc: the daemon must be in this process's pid namespace. Pids are asked for
// twice, so that a process which ended in between isn't taken for another one
// with the same pid. A runtime with a kernel of its own may tell pids of that
// kernel; what has such a number on the host is somebody else's, and left out.
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
		if !marks.on(pid) {
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

// parseCommandLine splits the arguments of a process, each of which ends with a
// zero byte. A process may write over them, so that the last may lack it.
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
