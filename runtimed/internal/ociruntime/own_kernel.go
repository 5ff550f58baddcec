package ociruntime

import (
	"context"
	"path/filepath"
	"strconv"

	runc "github.com/containerd/go-runc"
)

// SandboxPidFile holds the pid that an exec has inside of its sandbox. It exists only for a container with a kernel
// of its own: the process that the host sees is then a waiter for the exec. The waiter passes a signal on only if
// there is a terminal, and the exec does not end with the waiter.
const SandboxPidFile = "inner-pid"

// HasOwnKernel tells whether a container that the OCI runtime has made runs on a kernel of its own, which the name of
// gVisor's state files tells.
func (r Runtime) HasOwnKernel(id string) bool {
	files, err := filepath.Glob(filepath.Join(r.Root, id+"_sandbox:*")) // no valid id has a character that is special here
	return err == nil && len(files) > 0
}

// SignalInSandbox sends a signal to a process by its pid inside of the sandbox.
func (r Runtime) SignalInSandbox(ctx context.Context, id, dir string, pid, signal int) error {
	return r.run(ctx, "kill", dir, func(c *runc.Runc) error {
		return c.Kill(ctx, id, signal, &runc.KillOpts{ExtraArgs: []string{"--pid", strconv.Itoa(pid)}})
	})
}
