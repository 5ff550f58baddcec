package libcontainerd

import (
	"errors"
	"strings"

	"github.com/containerd/errdefs"
)

// The exit codes of "docker run" and "docker exec" for what didn't start.
const (
	// ExitNotStarted is for any other reason than the command.
	ExitNotStarted = 125
	// ExitCommandDenied is for a command that may not be run, or can't be.
	ExitCommandDenied = 126
	// ExitCommandNotFound is for a command that isn't there.
	ExitCommandNotFound = 127
)

// StartError is in the errors of Start, Exec, Run and RunExec where the runtime
// daemon was asked to create or start the process and didn't. Its text is the
// daemon's, and with it the OCI runtime's own.
type StartError struct {
	// ExitCode is ExitNotStarted, ExitCommandDenied or ExitCommandNotFound.
	ExitCode int
	err      error
}

func (e *StartError) Error() string { return e.err.Error() }

// Unwrap is the daemon's error, with its class.
func (e *StartError) Unwrap() error { return e.err }

// StartExitCode is the ExitCode of the StartError in err; of any other error
// ExitNotStarted.
func StartExitCode(err error) int {
	if start := (*StartError)(nil); errors.As(err, &start) {
		return start.ExitCode
	}
	return ExitNotStarted
}

// The words, in lower case, with which runc and crun say what is wrong with a
// command. An OCI runtime has no other way to tell, and containerd passes them
// on as an error of no class: this is the one place that reads them.
var (
	wordsOfMissing = []string{"not found in $path", "no such file or directory"}
	wordsOfDenied  = []string{"permission denied", "is a directory", "exec format error",
		"open executable: operation not permitted"} // crun, of a directory
)

// notStarted makes a StartError of what the daemon answered; nil for nil.
func notStarted(err error) error {
	if err == nil {
		return nil
	}
	e := &StartError{ExitCode: ExitNotStarted, err: err}
	if errdefs.IsUnavailable(err) || errdefs.IsCanceled(err) || errdefs.IsDeadlineExceeded(err) {
		return e // nobody looked at the command
	}
	said := strings.ToLower(err.Error())
	switch {
	case hasAny(said, wordsOfMissing):
		e.ExitCode = ExitCommandNotFound
	case hasAny(said, wordsOfDenied):
		e.ExitCode = ExitCommandDenied
	}
	return e
}

func hasAny(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
