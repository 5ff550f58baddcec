package ociruntime

import (
	"context"
	"path/filepath"
	"strconv"

	runc "github.com/containerd/go-runc"
)

// SandboxPidFile has an exec's pid inside of its sandbox. It is there only where the process that the host sees is not the exec itself but a waiter for it, because
// the container has a kernel of its own: the waiter hands on no signal unless there is a terminal, and what it waits for doesn't end with it.
const SandboxPidFile = "inner-pid"

// HasOwnKernel tells whether a container that the OCI runtime has made runs on a kernel of its own, which the name of gVisor's state files tells.
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
