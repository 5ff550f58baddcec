package libcontainerd

import (
	"errors"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
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

// An OCI runtime says what is wrong with a command in its text only, and containerd passes the text on as an error
// without a class. This is the one place that reads such texts. The engine can't find the reason itself: the
// command is looked up in the container's own mounts, with the rights of the container's user, and both are gone
// when the create has failed.
//
// missingWords and deniedWords count only behind one of commandPrefixes, since the runtimes use the same words for
// mounts, hooks and namespaces. All are in lower case. TestStartWords has the runtimes produce them.
var (
	commandPrefixes = []string{
		`exec: "`, ": exec /", // runc
		"executable file `", "open executable: ", // crun
		"error finding executable ", "failed to load /", // gVisor's runsc
	}
	missingWords = []string{"not found in $path", "no such file or directory", "not a directory"}
	deniedWords  = []string{"permission denied", "is a directory", "exec format error",
		"operation not permitted"} // crun, of a directory
)

// notStarted makes a StartError of the daemon's error; nil for nil.
func notStarted(err error) error {
	if err == nil {
		return nil
	}
	e := &StartError{ExitCode: ExitNotStarted, err: err}
	if errdefs.IsUnavailable(err) || errdefs.IsCanceled(err) || errdefs.IsDeadlineExceeded(err) {
		return e // no OCI runtime looked at the command
	}
	text := strings.ToLower(err.Error())
	for _, prefix := range commandPrefixes {
		_, after, ok := strings.Cut(text, prefix)
		switch {
		case !ok:
		case hasAny(after, missingWords):
			e.ExitCode = ExitCommandNotFound
			return e
		case hasAny(after, deniedWords):
			e.ExitCode = ExitCommandDenied
			return e
		}
	}
	return e
}

func hasAny(text string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
