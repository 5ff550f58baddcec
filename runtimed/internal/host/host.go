package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/hostlimits"
	"github.com/engine-lite/engine-lite/runtimed/internal/cgroup"
	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
)

// Host is what the kernel allows this process, and so its containers. It is found out once.
type Host struct {
	hostlimits.Bounds
	// seccomp tells whether the kernel has system call filters.
	seccomp bool
	// controllers lists the controllers of control groups.
	controllers func() ([]string, error)
	Features    *ociruntime.Features
}

func Detect(tmp string) (Host, error) {
	bounds, err := hostlimits.Here()
	if err != nil {
		return Host{}, err
	}
	return Host{Bounds: bounds, controllers: cgroup.Controllers, seccomp: hasSeccomp(),
		Features: ociruntime.NewFeatures(tmp)}, nil
}

// hasSeccomp asks for a filter at an address that there is none at: the kernel tells of that only if it has filters
// (seccomp(2), PR_SET_SECCOMP).
func hasSeccomp() bool {
	return errors.Is(unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0), unix.EFAULT)
}

// RequireSpec refuses a spec that needs what this host does not have and what cannot be given in part: a limit
// without its controller would limit nothing, and a container without its filter would be unconfined. Errors are of
// class FailedPrecondition and name what is missing.
func (h Host) RequireSpec(ctx context.Context, spec *specs.Spec, runtime string) error {
	if spec.Linux == nil {
		return nil
	}
	if err := cgroup.RequireControllers(spec.Linux.Resources, h.controllers); err != nil {
		return err
	}
	if spec.Linux.Seccomp == nil {
		return nil
	}
	if !h.seccomp {
		return fmt.Errorf("the spec has a seccomp profile and this kernel has no seccomp filters: %w",
			errdefs.ErrFailedPrecondition)
	}
	if h.Features.LacksSeccomp(ctx, runtime) {
		return fmt.Errorf("the spec has a seccomp profile and %s was built without seccomp: %w",
			runtime, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// RequireResources refuses limits that no controller of this host enforces. FailedPrecondition names the controller.
func (h Host) RequireResources(r *specs.LinuxResources) error {
	return cgroup.RequireControllers(r, h.controllers)
}
