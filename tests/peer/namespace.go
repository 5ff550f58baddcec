package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// variable is in the environment of a program that [Again] has started.
const variable = "ENGINE_LITE_PEER"

// Inside tells whether this process is one that [Again] has started.
func Inside() bool { return os.Getenv(variable) != "" }

func again(ctx context.Context, out *os.File, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{out}
	cmd.Env = append(os.Environ(), variable+"=inside")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	return cmd.Run()
}

// enter makes the namespaces that [Again] has made usable: /proc, and a loopback interface.
func enter() error {
	for _, command := range [][]string{{"mount", "-n", "-t", "proc", "proc", "/proc"}, {"ip", "link", "set", "lo", "up"}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", command, err, out)
		}
	}
	return nil
}
