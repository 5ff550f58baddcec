package inspect

import (
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// Exec is the answer to an inspect of an exec. exit is nil as long as the exec has no exit code.
func Exec(x record.Exec, running bool, exit *int) container.ExecInspectResponse {
	privileged := x.Request.Privileged
	return container.ExecInspectResponse{
		ID: x.ID, ContainerID: x.Container, Pid: x.Pid, Running: running, ExitCode: exit, DetachKeys: []byte(x.Request.DetachKeys),
		OpenStdin: x.Request.AttachStdin, OpenStdout: x.Request.AttachStdout, OpenStderr: x.Request.AttachStderr,
		ProcessConfig: &container.ExecProcessConfig{
			Tty: x.Request.Tty, Entrypoint: x.Request.Cmd[0], Arguments: x.Request.Cmd[1:],
			User: x.Request.User, Privileged: &privileged,
		},
	}
}
