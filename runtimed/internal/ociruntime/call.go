package ociruntime

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

const (
	// outputBound is what is kept of a runtime's output, in bytes. A container's state is no longer than the spec
	// that its annotations came from.
	outputBound = 16 << 20
	// outputGrace is how long other processes may keep the output of a runtime open that has ended. The child of a
	// hook inherits that output.
	outputGrace = 2 * time.Second
	// textBound is how much of a runtime's message an error quotes, in bytes.
	textBound = 4 << 10
)

// go-runc starts every OCI runtime through this variable and has no other place for what is needed here.
func init() { runc.Monitor = runtimeCalls{} }

// runtimeCalls starts OCI runtimes so that none can harm the daemon. Each one leads a process group, which is killed
// when the context of the call ends. Its output is bounded. Processes that it leaves behind cannot keep the daemon
// waiting.
type runtimeCalls struct{}

// Start starts a runtime. The caller calls Wait.
func (runtimeCalls) Start(cmd *exec.Cmd) (chan runc.Exit, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error {
		err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // its own children too, such as a hook that hangs
		if errors.Is(err, unix.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = outputGrace
	if b, ok := cmd.Stdout.(*bytes.Buffer); ok {
		bounded := &boundedWriter{to: b, room: outputBound}
		if cmd.Stderr == cmd.Stdout {
			cmd.Stderr = bounded // the same, so that os/exec makes one pipe for both
		}
		cmd.Stdout = bounded
	}
	return nil, cmd.Start()
}

// StartLocked is Start: no runtime is to be killed with a thread.
func (m runtimeCalls) StartLocked(cmd *exec.Cmd) (chan runc.Exit, error) { return m.Start(cmd) }

// Wait waits for a runtime's end and returns its exit code; that of one ended by a signal is 128 and the signal's
// number.
func (runtimeCalls) Wait(cmd *exec.Cmd, _ chan runc.Exit) (int, error) {
	err := cmd.Wait()
	state := cmd.ProcessState
	if state == nil {
		return 0, err
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return state.ExitCode(), nil // an error that is not the code's is of output that stayed open
}

// boundedWriter writes on until there is no more room, and then drops what comes: a writer to it never waits and
// never fails.
type boundedWriter struct {
	to   *bytes.Buffer
	room int
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.to.Write(p[:n])
	w.room -= n
	return len(p), nil
}

// brief is the beginning of a text that somebody else wrote.
func brief(text string) string {
	if len(text) <= textBound {
		return text
	}
	return text[:textBound] + " ..."
}
