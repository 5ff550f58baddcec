package engine

import (
	"cmp"
	"regexp"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/system"

	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// OCIRuntime is an OCI runtime beside the default one, which users choose by a name.
type OCIRuntime struct {
	// Path is absolute.
	Path string
	// Args are global arguments, which only the embedded runtime daemon passes on.
	Args []string
}

// shimType is the type of a runtime as containerd names it: io.containerd.kata.v2
// is run by a program containerd-shim-kata-v2.
var shimType = regexp.MustCompile(`^io\.containerd\.[a-z0-9]+([_-][a-z0-9]+)*\.v[0-9]+$`)

// runcType is the one that every runtime daemon has.
const runcType = "io.containerd.runc.v2"

// checkRuntime refuses a runtime that the engine can't choose.
func (e *Engine) checkRuntime(runtime string) error {
	if _, added := e.opts.Runtimes[runtime]; added {
		return nil
	}
	name := e.runtimeType(runtime)
	switch {
	case name == "" || name == runcType:
		return nil
	case !shimType.MatchString(name):
		return classed.Errorf(errdefs.ErrInvalidArgument, "unknown or invalid runtime name: %s", name)
	case !e.opts.Shims:
		return classed.Errorf(errdefs.ErrNotImplemented, "runtime %q needs a shim, which engine-lite has on containerd only (--containerd)", name)
	}
	return nil
}

// runtimeType is what the runtime daemon is asked for; empty for its default, which
// has a name that users know, too.
func (e *Engine) runtimeType(runtime string) string {
	if runtime == e.opts.Runtime || runtime == "runc" && e.opts.Shims {
		return ""
	}
	return runtime
}

// chooseRuntime puts a container's runtime into the options of its record. containerd's name for the type of runc's shim
// means runc, too, where the runtime daemon has no shims.
func (e *Engine) chooseRuntime(o *libcontainerd.CreateOptions, runtime string) error {
	if _, there := e.opts.Runtimes["runc"]; there && runtime == runcType && !e.opts.Shims {
		runtime = "runc"
	}
	if err := e.checkRuntime(runtime); err != nil {
		return err // it was there when the container was made
	}
	if added, ok := e.opts.Runtimes[runtime]; ok {
		o.RuntimePath, o.RuntimeArgs = added.Path, added.Args
		return nil
	}
	o.Runtime = e.runtimeType(runtime)
	return nil
}

// runtimeProgram is the name or path of the OCI runtime that runs a container.
func (e *Engine) runtimeProgram(runtime string) string {
	if added, ok := e.opts.Runtimes[runtime]; ok {
		return added.Path
	}
	return cmp.Or(runtime, e.opts.Runtime)
}

// runtimes are all that have a name, for docker info.
func (e *Engine) runtimes() map[string]system.RuntimeWithStatus {
	all := map[string]system.RuntimeWithStatus{e.opts.Runtime: {Runtime: system.Runtime{Path: e.opts.Runtime}}}
	for name, r := range e.opts.Runtimes {
		all[name] = system.RuntimeWithStatus{Runtime: system.Runtime{Path: r.Path, Args: r.Args}}
	}
	return all
}
