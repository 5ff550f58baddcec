package libcontainerd

import (
	"errors"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/commandtext"
)

// The exit codes of "docker run" and "docker exec" for a process that didn't start.
const (
	// ExitNotStarted: the start failed for a reason other than the command.
	ExitNotStarted = 125
	// ExitCommandDenied: the command exists, and can't be executed.
	ExitCommandDenied = 126
	// ExitCommandNotFound: the command doesn't exist.
	ExitCommandNotFound = 127
)

// StartError is wrapped by the errors of Start, Exec, Run and RunExec if the runtime daemon was asked to create or
// start the process and failed. Its text is that of the daemon, and includes that of the OCI runtime.
type StartError struct {
	// ExitCode is ExitNotStarted, ExitCommandDenied or ExitCommandNotFound.
	ExitCode int
	err      error
}

func (e *StartError) Error() string { return e.err.Error() }

// Unwrap returns the daemon's error, with its class.
func (e *StartError) Unwrap() error { return e.err }

// StartExitCode returns the ExitCode of the StartError that err wraps, or ExitNotStarted for any other error.
func StartExitCode(err error) int {
	if start := (*StartError)(nil); errors.As(err, &start) {
		return start.ExitCode
	}
	return ExitNotStarted
}

// notStarted makes a StartError of the daemon's error; nil for nil.
func notStarted(err error) error {
	if err == nil {
		return nil
	}
	e := &StartError{ExitCode: ExitNotStarted, err: err}
	if errdefs.IsUnavailable(err) || errdefs.IsCanceled(err) || errdefs.IsDeadlineExceeded(err) {
		return e // no OCI runtime looked at the command
	}
	switch commandtext.Tell(err.Error()) {
	case commandtext.Missing:
		e.ExitCode = ExitCommandNotFound
	case commandtext.Denied:
		e.ExitCode = ExitCommandDenied
	case commandtext.Other:
	}
	return e
}
