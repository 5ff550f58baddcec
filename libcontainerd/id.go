package libcontainerd

import (
	"fmt"
	"regexp"

	"github.com/containerd/errdefs"
)

// longestID and wellFormed are the rule for identifiers of containerd's package identifiers. Every implementation
// of containerd's API refuses other ids.
const longestID = 76

var wellFormed = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$`)

// CheckID returns nil if id may be the id of a container or an exec, else InvalidArgument. An id has 1 to 76
// characters: letters and digits of ASCII, with single dots, dashes and underscores between them. Such an id is
// safe as the name of a file.
func CheckID(id string) error {
	if len(id) > longestID {
		return fmt.Errorf("id %.20q... is longer than %d characters: %w", id, longestID, errdefs.ErrInvalidArgument)
	}
	if !wellFormed.MatchString(id) {
		return fmt.Errorf("id %q is not letters and digits joined by single '.', '_' or '-': %w",
			id, errdefs.ErrInvalidArgument)
	}
	return nil
}

// checkExecID is CheckID for an exec. An exec's id must not be InitProcess, nor the container's id, which stands
// for the init process in containerd's events.
func checkExecID(containerID, id string) error {
	if id == InitProcess || id == containerID {
		return fmt.Errorf("exec id %q means the container's init process: %w", id, errdefs.ErrInvalidArgument)
	}
	return CheckID(id)
}
