package engine

import (
	"regexp"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// shimType is the type of a runtime as containerd names it: io.containerd.kata.v2
// is run by a program containerd-shim-kata-v2.
var shimType = regexp.MustCompile(`^io\.containerd\.[a-z0-9]+([_-][a-z0-9]+)*\.v[0-9]+$`)

// runcType is the one that every runtime daemon has.
const runcType = "io.containerd.runc.v2"

// checkRuntime refuses a runtime that the engine can't choose.
func (e *Engine) checkRuntime(h *container.HostConfig) error {
	name := e.runtimeType(h)
	switch {
	case name == "" || name == runcType:
		return nil
	case !shimType.MatchString(name):
		return refuse(errdefs.ErrInvalidArgument, "there is no runtime %q: engine-lite runs %s, and with containerd those named like io.containerd.kata.v2", name, e.opts.Runtime)
	case !e.opts.Shims:
		return refuse(errdefs.ErrNotImplemented, "runtime %q needs a shim, which engine-lite has on containerd only (--containerd)", name)
	}
	return nil
}

// runtimeType is what the runtime daemon is asked for; empty for its default, which
// has a name that users know, too.
func (e *Engine) runtimeType(h *container.HostConfig) string {
	if h.Runtime == e.opts.Runtime || h.Runtime == "runc" && e.opts.Shims {
		return ""
	}
	return h.Runtime
}
