package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Exit is the end of one process, as the keeper reaped it.
type Exit struct {
	// Seq numbers the exits of a ledger, rising from 1 over all restarts of the keeper. Forgotten exits leave holes.
	Seq uint64 `json:"seq"`
	// Pid is the process id in the keeper's pid namespace.
	Pid int `json:"pid"`
	// StartTime is the process's start in clock ticks after boot (proc(5), /proc/PID/stat, field 22); 0 if it could not be read.
	StartTime uint64 `json:"start"`
	// Status is the raw status of wait(2).
	Status uint32 `json:"status"`
	// Time is the wall clock time at which the keeper saw the exit.
	Time time.Time `json:"time"`
}

// Code returns the exit code as OCI runtimes and shims report it: 0 to 255 for a process that ended by itself, 128 plus the
// signal's number for one that a signal ended.
func (e Exit) Code() int {
	status := unix.WaitStatus(e.Status)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// StartTime returns the start time of a living process or a zombie, in clock ticks after boot (proc(5), /proc/PID/stat, field 22).
// Together with the pid it names a process once and for all until the next boot. Errors: NotFound if there is no such process.
func StartTime(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, errdefs.ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, err)
	}
	start, err := parseStartTime(stat)
	if err != nil {
		return 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, err)
	}
	return start, nil
}

// parseStartTime finds field 22 in the text of /proc/PID/stat. Field 2, the command in brackets, may hold blanks and brackets itself, so
// fields are counted from the last closing bracket on.
func parseStartTime(stat []byte) (uint64, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
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
