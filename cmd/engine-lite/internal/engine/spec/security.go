package spec

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/apparmor"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// security is the meaning of Docker's security options.
type security struct {
	noNewPrivileges bool
	// writableGroups tells that the container may change its control groups.
	writableGroups bool
	// seccomp is the profile in Docker's format, or one of the words below.
	seccomp string
	// apparmor is the name of a profile that the host has loaded; empty for none.
	apparmor string
	// label is an option about SELinux' labels, if there is one beside "disable".
	label string
}

const (
	defaultProfile = ""
	noProfile      = "unconfined"
)

// parseSecurity reads the options "KEY=VALUE"; the older "KEY:VALUE" is read, too. A privileged container has no seccomp
// profile and may change its control groups, unless an option says otherwise. Errors: InvalidArgument and NotImplemented.
func parseSecurity(h *record.HostConfig) (security, error) {
	s := security{writableGroups: h.Privileged}
	if h.Privileged {
		s.seccomp = noProfile
	}
	for _, opt := range h.SecurityOpt {
		if err := s.add(opt); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *security) add(opt string) error {
	switch opt {
	case "no-new-privileges":
		s.noNewPrivileges = true
		return nil
	case "writable-cgroups":
		s.writableGroups = true
		return nil
	case "disable": // of SELinux' labels, which no container has
		return nil
	}
	key, value, ok := strings.Cut(opt, "=")
	if !ok {
		key, value, ok = strings.Cut(opt, ":")
	}
	if !ok {
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid --security-opt 1: %q", opt)
	}
	var err error
	switch {
	case key == "no-new-privileges":
		s.noNewPrivileges, err = strconv.ParseBool(value)
	case key == "writable-cgroups" && (value == "true" || value == "false"):
		s.writableGroups = value == "true"
	case key == "seccomp" && value == "builtin":
		s.seccomp = defaultProfile
	case key == "seccomp":
		s.seccomp = value
	case key == "apparmor":
		s.apparmor = value
	case key == "label" && value == "disable":
	case key == "label":
		s.label = opt
	default:
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid --security-opt 2: %q", opt)
	}
	if err != nil {
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid --security-opt 2: %q", opt)
	}
	return nil
}

// check refuses a seccomp profile that cannot be read, and labels of a host that has them.
func (s security) check() error {
	if s.label != "" && host.HasSELinux() {
		return classed.Errorf(errdefs.ErrNotImplemented,
			"engine-lite does not have SELinux labels: the security option %q", s.label)
	}
	if s.seccomp == defaultProfile || s.seccomp == noProfile {
		return nil
	}
	none := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}, Linux: &specs.Linux{}}
	if _, err := seccomp.LoadProfile(s.seccomp, none); err != nil {
		return classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	return nil
}

// WithoutEffect returns warnings about the security options of a container that mean nothing on this host.
func WithoutEffect(r *record.Record) ([]string, error) {
	s, err := parseSecurity(r.HostConfig)
	if err != nil {
		return nil, err
	}
	return s.withoutEffect(apparmor.HostSupports(), host.HasSELinux()), nil
}

func (s security) withoutEffect(hasAppArmor, hasSELinux bool) (warnings []string) {
	if s.apparmor != "" && s.apparmor != noProfile && !hasAppArmor {
		warnings = append(warnings, fmt.Sprintf("This host has no AppArmor: the profile %q has no effect.", s.apparmor))
	}
	if s.label != "" && !hasSELinux {
		warnings = append(warnings, fmt.Sprintf("This host has no SELinux: the option %q has no effect.", s.label))
	}
	return warnings
}

// privilegesOpt keeps the process from new privileges where the user asked for that, and gives it its AppArmor profile.
func (s security) privilegesOpt(_ context.Context, _ oci.Client, _ *containers.Container, to *oci.Spec) error {
	to.Process.NoNewPrivileges = s.noNewPrivileges
	if apparmor.HostSupports() {
		to.Process.ApparmorProfile = s.apparmor
	}
	return nil
}

// seccompOpt sets the container's seccomp profile for the capabilities that the spec has by then: Docker's default one,
// unless the user gave one or asked for none.
func (s security) seccompOpt(_ context.Context, _ oci.Client, _ *containers.Container, to *oci.Spec) (err error) {
	switch s.seccomp {
	case noProfile:
	case defaultProfile:
		to.Linux.Seccomp, err = seccomp.GetDefaultProfile(to)
	default:
		to.Linux.Seccomp, err = seccomp.LoadProfile(s.seccomp, to)
	}
	if err != nil {
		return fmt.Errorf("seccomp profile: %w", err)
	}
	return nil
}

// defaultPaths are containerd's default spec, for the paths that are masked and read-only. They are the same for all
// containers.
var defaultPaths = sync.OnceValues(func() (*specs.Spec, error) {
	s, err := oci.GenerateSpec(namespaces.WithNamespace(context.Background(), namespace), nil, &containers.Container{ID: "none"})
	if err != nil {
		return nil, fmt.Errorf("default runtime spec: %w", err)
	}
	return s, nil
})

// FillPaths puts the paths that are masked and read-only by default into the configuration of a new container, unless the
// user gave others: inspect shows them.
func FillPaths(h *record.HostConfig) error {
	if h.Privileged {
		return nil
	}
	s, err := defaultPaths()
	if err != nil {
		return err
	}
	if h.MaskedPaths == nil {
		h.MaskedPaths = slices.Sorted(slices.Values(s.Linux.MaskedPaths))
	}
	if h.ReadonlyPaths == nil {
		h.ReadonlyPaths = slices.Clone(s.Linux.ReadonlyPaths)
	}
	return nil
}
