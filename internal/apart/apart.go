// Package apart runs tests where the traces of other programs go away with the tests.
//
// podman, dockerd, containerd, crun and CRIU make directories, locks and control groups of
// their own on first use, and never remove them. So a test program enters a place apart first:
//
//   - a mount namespace in which /run and /dev/shm are empty, and in which what is written to
//     /etc, /opt and /var/lib stays in memory;
//   - a control group that is the root of all groups for the tests, in each hierarchy.
//
// Everything else is the machine's: processes, networks, /tmp, /root. The package hides what
// others leave, so it also looks for what is ours there: see [Left] and [Enter].
package apart

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// variable is in the environment of a program that is to enter the place, and of all that run
// in it. Its value is the name of the control group, behind one of the words below.
const variable = "ENGINE_LITE_APART"

const (
	entering = "entering "
	inside   = "inside "
)

// Enter has the rest of a test program run apart. It comes first in TestMain or main:
//
//	if code, done := apart.Enter(); done {
//		os.Exit(code)
//	}
//
// Outside, it runs the program again in a place apart, waits for its end, takes the place away
// and returns the exit code with done. The code is not 0 if processes or the control group of
// engine-lite are left there. Inside, and where the caller isn't root and so leaves nothing, it
// returns at once without done.
func Enter() (code int, done bool) {
	value := os.Getenv(variable)
	if group, ok := strings.CutPrefix(value, entering); ok {
		return failed(become(group)), true // it returns for an error only
	}
	if strings.HasPrefix(value, inside) {
		mountsBefore, _ = mounts() // Left tells of an error
		return 0, false
	}
	if os.Geteuid() != 0 {
		return 0, false
	}
	group := fmt.Sprintf("engine-lite-apart-%d", os.Getpid())
	if err := makeGroups(group); err != nil {
		return failed(errors.Join(err, removeGroups(group))), true
	}
	code, err := again(group)
	if err = errors.Join(err, removeGroups(group)); err != nil {
		return max(code, failed(err)), true
	}
	return code, true
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "apart:", err)
	return 1
}

// again runs this program a second time, and passes on the signals that it gets.
func again(group string) (int, error) {
	// A parent's death is that of the thread (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), variable+"="+entering+group)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the process
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended
		case err = <-ended:
			return codeOf(err)
		}
	}
}

// codeOf is the exit code for how a process ended.
func codeOf(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 1, err
	case exit.Exited():
		return exit.ExitCode(), nil
	default:
		return 1, err // a signal
	}
}

// become turns this process into the same program inside of the place.
func become(group string) error {
	runtime.LockOSThread() // namespaces are the thread's until exec
	if err := joinGroups(group); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cannot make namespaces: %w", err)
	}
	if err := remountGroups(); err != nil {
		return err
	}
	if err := joinGroups(leaf); err != nil {
		return err
	}
	if err := Hide(); err != nil {
		return err
	}
	// Exec gives the process the thread's, which is none yet.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(variable, inside+group); err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}
