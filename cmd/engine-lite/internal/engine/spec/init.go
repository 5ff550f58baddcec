package spec

import (
	"context"
	"slices"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
)

// initPath is where a container finds its init, as in Docker.
const initPath = "/sbin/docker-init"

// initOpt makes the host's init program the first process of the container. The container's command is the init's
// child. It comes after the container's other mounts, so that none of them hides the program.
func initOpt(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	program, err := host.InitProgram()
	if err != nil {
		return err
	}
	s.Process.Args = slices.Concat([]string{initPath, "--"}, s.Process.Args)
	s.Mounts = append(s.Mounts, specs.Mount{
		Destination: initPath, Type: "bind", Source: program, Options: []string{"bind", "ro"},
	})
	return nil
}
