package runtimed

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/hostlimits"
)

// host is what the kernel allows this process, and so the containers that it has made. It is found out once.
type host struct {
	hostlimits.Bounds
	// seccomp tells whether the kernel has system call filters.
	seccomp bool
	// controllers lists the controllers of control groups.
	controllers func() ([]string, error)
	features    *seccompTable
}

func thisHost(tmp string) (host, error) {
	bounds, err := hostlimits.Here()
	if err != nil {
		return host{}, err
	}
	return host{Bounds: bounds, controllers: controllers, seccomp: hasSeccomp(), features: newSeccompTable(tmp)}, nil
}

// hasSeccomp asks for a filter at an address that there is none at: the kernel tells of that only if it has filters (seccomp(2), PR_SET_SECCOMP).
func hasSeccomp() bool {
	return errors.Is(unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0), unix.EFAULT)
}

// requireSpec refuses a spec that asks for what this host doesn't have and what can't be had in part: a limit without its controller would be none, and a container
// without its filter unconfined. Errors are of class FailedPrecondition and name what is missing.
func (h host) requireSpec(ctx context.Context, spec *specs.Spec, r ociRuntime) error {
	if spec.Linux == nil {
		return nil
	}
	if err := h.requireControllers(spec.Linux.Resources); err != nil {
		return err
	}
	if spec.Linux.Seccomp == nil {
		return nil
	}
	if !h.seccomp {
		return fmt.Errorf("the spec has a seccomp profile and this kernel has no seccomp filters: %w", errdefs.ErrFailedPrecondition)
	}
	if h.features.lacks(ctx, r.Path) {
		return fmt.Errorf("the spec has a seccomp profile and %s was built without seccomp: %w", r.Path, errdefs.ErrFailedPrecondition)
	}
	return nil
}
