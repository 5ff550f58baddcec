package process

import (
	"context"
	"errors"
	"strings"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/stdio"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// FailedStart is Docker's exit code of a container that did not start for another reason than its command.
const FailedStart = 128

// StartFailure gives the error of a start the exit code and the class that Docker gives that error. The words that
// Docker's clients look for are added where an OCI runtime uses others. The code is FailedStart where the command is
// not the reason.
func StartFailure(err error) (code int, text string, class classed.Class) {
	text = strings.TrimSpace(err.Error())
	switch code := libcontainerd.StartExitCode(err); {
	case code == libcontainerd.ExitCommandNotFound:
		return code, withWords(text, "executable file not found"), errdefs.ErrInvalidArgument
	case code == libcontainerd.ExitCommandDenied:
		return code, withWords(text, "permission denied"), errdefs.ErrInvalidArgument
	case errdefs.IsInvalidArgument(err):
		return FailedStart, text, errdefs.ErrInvalidArgument
	case errdefs.IsFailedPrecondition(err), errdefs.IsConflict(err):
		return FailedStart, text, errdefs.ErrConflict
	case errdefs.IsUnavailable(err):
		return FailedStart, text, errdefs.ErrUnavailable
	default:
		return FailedStart, text, errdefs.ErrInternal
	}
}

func withWords(text, words string) string {
	if strings.Contains(text, words) {
		return text
	}
	return text + ": " + words
}

// ShownExitCode is Docker's number for an exit: 255 where nobody knows the exit code.
func ShownExitCode(x libcontainerd.Exit) int {
	if x.Unknown != "" {
		return 255
	}
	return x.Code
}

// WarningAttributes are those of the event of a start whose process got less than was asked for.
func WarningAttributes(ev libcontainerd.Event) map[string]string {
	if ev.Warnings == nil {
		return nil
	}
	return map[string]string{"warning": strings.Join(ev.Warnings, "; ")}
}

// Drain waits until the last output of an ended process is in its log. A disk that does not take the output is no
// error: the output goes to the log when the disk has room. Errors: the end of ctx, after which the next engine reads
// the rest.
func Drain(ctx context.Context, container string, l *stdio.IO) error {
	err := l.Drained(ctx)
	if errors.Is(err, stdio.ErrStalled) {
		log.WithField("container", container).Warn(
			"the disk does not take the last output of an ended process; " +
				"the exit is reported now, and the output is logged when the disk has room")
		return nil
	}
	return err
}
