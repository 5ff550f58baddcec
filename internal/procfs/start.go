package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// StartTime returns the start time of a living process or a zombie, in clock ticks after boot (proc(5),
// /proc/PID/stat, field 22). Together with the pid it names a process once and for all until the next boot. Errors:
// NotFound if there is no such process.
func StartTime(pid int) (uint64, error) {
	stat, err := readStat(pid)
	if err != nil {
		return 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, err)
	}
	start, err := parseStartTime(stat)
	if err != nil {
		return 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, err)
	}
	return start, nil
}

// Parent returns the parent of a process (field 4), and whether the process is a zombie, which its parent has not
// reaped (field 3). Errors: NotFound if there is no such process.
func Parent(pid int) (parent int, zombie bool, err error) {
	stat, err := readStat(pid)
	if err == nil {
		parent, zombie, err = parseParent(stat)
	}
	if err != nil {
		return 0, false, fmt.Errorf("cannot read the parent of process %d: %w", pid, err)
	}
	return parent, zombie, nil
}

func readStat(pid int) ([]byte, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, errdefs.ErrNotFound
	}
	return stat, err
}

// afterCommand returns the fields of /proc/PID/stat from field 3 on. Field 2, the command in brackets, may hold blanks
// and brackets itself, so fields are counted from the last closing bracket on.
func afterCommand(stat []byte) [][]byte {
	return bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
}

func parseParent(stat []byte) (parent int, zombie bool, err error) {
	fields := afterCommand(stat)
	if len(fields) < 2 {
		return 0, false, fmt.Errorf("process stat with %d fields after the command: %w", len(fields), errdefs.ErrDataLoss)
	}
	parent, err = strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, false, fmt.Errorf("process stat with parent %q: %w", fields[1], errdefs.ErrDataLoss)
	}
	return parent, string(fields[0]) == "Z", nil
}

// parseStartTime finds field 22 in the text of /proc/PID/stat.
func parseStartTime(stat []byte) (uint64, error) {
	fields := afterCommand(stat)
	const at = 22 - 3 // the first field after the command is number 3
	if len(fields) <= at {
		return 0, fmt.Errorf("process stat with %d fields after the command: %w", len(fields), errdefs.ErrInvalidArgument)
	}
	start, err := strconv.ParseUint(string(fields[at]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("process stat with start time %q: %w", fields[at], errdefs.ErrInvalidArgument)
	}
	return start, nil
}
