package keeper

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/procfs"
)

// Exit is the end of one process, as the keeper reaped it.
type Exit struct {
	// Seq is the number of the exit in the keeper's ledger. The first one is 1, and numbers go on rising when the
	// keeper is started again. Forgotten exits leave holes.
	Seq uint64
	// Pid is the process id in the keeper's pid namespace.
	Pid int
	// StartTime is the time at which the process started, as StartTime returns it; 0 if it could not be read.
	StartTime uint64
	// Status is the raw status of wait(2).
	Status uint32
	// Time is the wall clock's time at which the keeper saw the exit.
	Time time.Time
}

// Code returns the exit code as OCI runtimes and shims report it: 0 to 255 for a process that ended by itself, 128 plus
// the signal's number for a process that a signal ended.
func (e Exit) Code() int {
	status := unix.WaitStatus(e.Status)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// StartTime returns the time at which a process started, in clock ticks after boot (proc(5), /proc/PID/stat, field 22).
// The process may be a zombie. Pid and start time together name one process until the next boot.
// Errors: NotFound if there is no such process.
func StartTime(pid int) (uint64, error) { return procfs.StartTime(pid) }

// Boot returns the id of the machine's boot, as 32 hexadecimal digits (see /proc/sys/kernel/random/boot_id in
// random(4)). A caller that stores pids and start times stores this id with them: after the next boot, they may name
// other processes. Errors: DataLoss if the kernel's text is no id.
func Boot() (string, error) {
	id, err := procfs.Boot()
	if err != nil {
		return "", err
	}
	return id.String(), nil
}
