package libcontainerd

import (
	"fmt"
	"regexp"

	"github.com/containerd/errdefs"
)

// longestID and wellFormed are containerd's rule for identifiers; every
// implementation of its API refuses others.
const longestID = 76

var wellFormed = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$`)

// CheckID tells whether id may name a container or an exec: 1 to 76 letters and
// digits of ASCII, with single dots, dashes and underscores between them. An
// id that passes is safe as the name of a file. The error is InvalidArgument.
func CheckID(id string) error {
	if len(id) > longestID {
		return fmt.Errorf("id %.20q... is longer than %d characters: %w", id, longestID, errdefs.ErrInvalidArgument)
	}
	if !wellFormed.MatchString(id) {
		return fmt.Errorf("id %q is not letters and digits joined by single '.', '_' or '-': %w", id, errdefs.ErrInvalidArgument)
	}
	return nil
}

// checkExecID is CheckID for an exec, whose id must not be InitProcess, nor the
// container's own, by which containerd's events name the first process.
func checkExecID(containerID, id string) error {
	if id == InitProcess || id == containerID {
		return fmt.Errorf("exec id %q means the container's first process: %w", id, errdefs.ErrInvalidArgument)
	}
	return CheckID(id)
}
