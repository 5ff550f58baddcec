package signals

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/retry"
)

const (
	// settleTime is how long after its start a program may take to install its handlers. It is long enough for a busy
	// machine. As long as the wait goes on, the signal would do nothing.
	settleTime = 2 * time.Second
	// settlePoll is the pause between two looks.
	settlePoll = 2 * time.Millisecond
)

// unheard are the signals that no handler takes, or that do nothing by default: signal(7).
var unheard = []syscall.Signal{unix.SIGKILL, unix.SIGSTOP, unix.SIGCONT, unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH}

// AwaitHandler waits until a container's first process can notice a signal, where the process began less than two
// seconds ago. The kernel drops a signal for the first process of a PID namespace as long as the process has no handler
// for the signal (pid_namespaces(7)): sent too early, a stop signal would be lost, and the stop would take its whole
// timeout. pid is the process's number on the host. AwaitHandler returns at once for SIGKILL, for signals that do
// nothing by default, and for a process that is gone; it returns two seconds after the start at the latest, or when ctx
// ends.
func AwaitHandler(ctx context.Context, pid int, sig syscall.Signal, started time.Time) {
	if slices.Contains(unheard, sig) {
		return
	}
	// A clock that was set back makes no process younger.
	left := min(time.Until(started.Add(settleTime)), settleTime)
	for ; left > 0; left -= settlePoll {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || noticed(string(status), sig) || takesSignals(pid) || retry.Sleep(ctx, settlePoll) != nil {
			return
		}
	}
}

// takesSignals reads /proc/PID/syscall (proc_pid_syscall(5)): whether the process waits for signals in sigtimedwait(2), as
// tini does. The kernel does not count them as blocked meanwhile.
func takesSignals(pid int) bool {
	call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	return err == nil && strings.HasPrefix(string(call), fmt.Sprint(unix.SYS_RT_SIGTIMEDWAIT, " "))
}

// noticed reads /proc/PID/status (proc_pid_status(5)): whether the process notices a signal. Until the process of runc
// or crun has become the container's program, its handlers are not the program's.
func noticed(status string, sig syscall.Signal) bool {
	bit := uint64(1) << (sig - 1)
	first, handled := true, false
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "Name":
			if value == "crun" || strings.HasPrefix(value, "runc:[") {
				return false
			}
		case "NSpid":
			numbers := strings.Fields(value)
			first = len(numbers) > 1 && numbers[len(numbers)-1] == "1"
		case "SigBlk", "SigIgn", "SigCgt": // one that is blocked is kept by the kernel
			mask, err := strconv.ParseUint(value, 16, 64)
			handled = handled || err != nil || mask&bit != 0
		}
	}
	return handled || !first
}
