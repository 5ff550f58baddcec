package libcontainerd

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/identifier"
)

// CheckID returns nil if id may be the id of a container or an exec, else InvalidArgument. An id has 1 to 76
// characters: letters and digits of ASCII, with single dots, dashes and underscores between them. Such an id is
// safe as the name of a file.
func CheckID(id string) error {
	return identifier.Check(id)
}

// checkExecID is CheckID for an exec. An exec's id must not be InitProcess, nor the container's id, which stands
// for the init process in containerd's events.
func checkExecID(containerID, id string) error {
	if id == InitProcess || id == containerID {
		return fmt.Errorf("exec id %q means the container's init process: %w", id, errdefs.ErrInvalidArgument)
	}
	return CheckID(id)
}
