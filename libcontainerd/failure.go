package libcontainerd

import (
	"errors"
	"slices"
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

// OCI runtimes have words only to tell what is wrong with a command, and containerd
// passes them on as an error of no class: this is the one place that reads them.
// Nobody else can know: the command is looked up in the container's own mounts, with
// its user's rights, and both are gone when create has failed. The words count
// behind one of the beginnings only, since they are said of mounts, hooks and
// namespaces too. All are in lower case. TestStartWords has the runtimes say them.
var (
	aboutCommand = []string{
		`exec: "`, ": exec /", // runc
		"executable file `", "open executable: ", // crun
		"error finding executable ", "failed to load /", // gVisor's runsc
	}
	wordsOfMissing = []string{"not found in $path", "no such file or directory", "not a directory"}
	wordsOfDenied  = []string{"permission denied", "is a directory", "exec format error",
		"operation not permitted"} // crun, of a directory
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
	for _, begin := range aboutCommand {
		_, rest, ok := strings.Cut(said, begin)
		switch {
		case !ok:
		case hasAny(rest, wordsOfMissing):
			e.ExitCode = ExitCommandNotFound
			return e
		case hasAny(rest, wordsOfDenied):
			e.ExitCode = ExitCommandDenied
			return e
		}
	}
	return e
}

func hasAny(text string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
