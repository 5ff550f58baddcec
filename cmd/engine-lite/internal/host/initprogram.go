package host

import (
	"os/exec"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// initPrograms are the names of a program that is the first process of a container with an init: Debian's and Docker's
// name for the same one, which is linked statically. It runs without any library of the container's image.
var initPrograms = []string{"tini-static", "docker-init"}

// InitProgram returns the path of that program. Errors: NotImplemented if this host has none.
func InitProgram() (string, error) {
	for _, name := range initPrograms {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", classed.Errorf(errdefs.ErrNotImplemented,
		"this host has no init for containers: neither %s nor %s is in PATH", initPrograms[0], initPrograms[1])
}
