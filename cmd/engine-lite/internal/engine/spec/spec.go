// Package spec makes the OCI runtime spec of a container from its record. It does no I/O of its own, except that devices
// of the host are looked at, some of them by containerd's library.
package spec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// ParentGroup is the control group above those of all containers whose users name no other one.
const ParentGroup = "engine-lite"

// defaultPath is what a container has where nobody set PATH.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Build makes the OCI runtime spec of a container's next run. user is whom its process runs as. mounts are mounted
// beside the container's root filesystem, in this order. join are the namespaces of other containers that the run
// takes part in.
func Build(
	ctx context.Context, r *record.Record, user specs.User, mounts []specs.Mount, join []specs.LinuxNamespace,
) (*specs.Spec, error) {
	sec, err := parseSecurity(r.HostConfig)
	if err != nil {
		return nil, err
	}
	blockIO, err := BlockIO(r.HostConfig.Resources)
	if err != nil {
		return nil, err
	}
	opts := append(processOpts(r, user), isolationOpts(r, sec)...)
	opts = append(opts, resourceOpts(r.HostConfig.Resources)...)
	opts = append(opts, mountOpts(r, sec, mounts)...)
	opts = append(opts, sec.seccompOpt)
	for _, ns := range join {
		opts = append(opts, oci.WithLinuxNamespace(ns))
	}
	if r.HostConfig.RunsInit() {
		opts = append(opts, initOpt)
	}
	s, err := oci.GenerateSpec(namespaces.WithNamespace(ctx, namespace), nil, &containers.Container{ID: r.ID}, opts...)
	if err != nil {
		return nil, fmt.Errorf("runtime spec: %w", err)
	}
	if err := oci.ApplyOpts(ctx, nil, nil, s, deviceOpts(r.HostConfig)...); err != nil {
		return nil, err
	}
	s.Version = specVersion
	s.Linux.Resources.BlockIO = blockIO
	return s, nil
}

// namespace is one that containerd's library wants. Nothing of it is left in the spec.
const namespace = "engine-lite"

// specVersion is the version of the OCI runtime specification that the spec is
// written in: nothing newer is used, and crun 1.8 refuses one that says 1.1 or
// later.
const specVersion = "1.0.2"

// BuildExec makes the part of the spec that an exec takes after: the process.
func BuildExec(r *record.Record, user specs.User) (*specs.Spec, error) {
	sec, err := parseSecurity(r.HostConfig)
	if err != nil {
		return nil, err
	}
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	s, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: r.ID}, append(processOpts(r, user), isolationOpts(r, sec)...)...)
	if err != nil {
		return nil, fmt.Errorf("process of an exec: %w", err)
	}
	return s, nil
}

// Check returns why a container cannot have a spec, while the request can still be refused.
func Check(r *record.Record) error {
	sec, err := parseSecurity(r.HostConfig)
	if err != nil {
		return err
	}
	if err := errors.Join(sec.check(), checkDevices(r.HostConfig)); err != nil {
		return err
	}
	for _, opt := range append(isolationOpts(r, sec), resourceOpts(r.HostConfig.Resources)...) {
		s := &oci.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}, Root: &specs.Root{}}
		if err := opt(context.Background(), nil, nil, s); err != nil {
			return err
		}
	}
	if r.HostConfig.RunsInit() {
		if _, err := host.InitProgram(); err != nil {
			return err
		}
	}
	if r.Config.WorkingDir != "" && !filepath.IsAbs(r.Config.WorkingDir) {
		return classed.Errorf(errdefs.ErrInvalidArgument, "the working directory '%s' is invalid, it needs to be an absolute path", r.Config.WorkingDir)
	}
	return nil
}

func processOpts(r *record.Record, user specs.User) []oci.SpecOpts {
	cwd := r.Config.WorkingDir
	if cwd == "" {
		cwd = "/"
	}
	env := []string{defaultPath, "HOSTNAME=" + r.Config.Hostname}
	if r.Config.Tty {
		env = append(env, "TERM=xterm")
	}
	opts := []oci.SpecOpts{
		oci.WithProcessArgs(append([]string{r.Path}, r.Args...)...),
		oci.WithProcessCwd(cwd),
		oci.WithEnv(env), oci.WithEnv(r.Config.Env),
		func(ctx context.Context, c oci.Client, ctr *containers.Container, s *oci.Spec) error {
			if r.HostConfig.UTSMode.IsHost() {
				return nil // the names are the host's, and not to be set
			}
			return oci.WithHostname(r.Config.Hostname)(ctx, c, ctr, s)
		},
		func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
			s.Process.User = user
			s.Process.User.Umask = r.HostConfig.Umask
			s.Process.Rlimits = nil // Docker's containers inherit the daemon's
			s.Process.NoNewPrivileges = false
			return nil
		},
	}
	if r.Config.Tty {
		opts = append(opts, oci.WithTTY)
		if size := r.HostConfig.ConsoleSize; size[0] > 0 && size[1] > 0 {
			opts = append(opts, oci.WithTTYSize(int(size[1]), int(size[0])))
		}
	}
	return opts
}

// isolationOpts are what a container may see and do, beyond containerd's defaults, which mask the same paths as Docker's.
func isolationOpts(r *record.Record, sec security) []oci.SpecOpts {
	h := r.HostConfig
	opts := []oci.SpecOpts{
		oci.WithCgroup(groupOf(r)),
		oci.WithAnnotations(h.Annotations),
		capabilityOpt(h.CapAdd, h.CapDrop), sec.privilegesOpt, sysctlOpt(r), ulimitOpt(h.Ulimits),
		oomScoreOpt(h.OomScoreAdj),
	}
	if h.MaskedPaths != nil {
		opts = append(opts, oci.WithMaskedPaths(h.MaskedPaths))
	}
	if h.ReadonlyPaths != nil {
		opts = append(opts, oci.WithReadonlyPaths(h.ReadonlyPaths))
	}
	for _, ns := range hostNamespaces(r) {
		opts = append(opts, oci.WithHostNamespace(ns))
	}
	if h.CgroupnsMode == "private" {
		opts = append(opts, oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace}))
	}
	if h.ReadonlyRootfs {
		opts = append(opts, oci.WithRootFSReadonly())
	}
	if h.Privileged {
		opts = append(opts, oci.WithPrivileged, oci.WithAllDevicesAllowed, oci.WithHostDevices,
			oci.WithMaskedPaths(nil), oci.WithReadonlyPaths(nil), oci.WithWriteableSysfs)
	} else {
		opts = append(opts, oci.WithDefaultUnixDevices)
	}
	return opts
}

// groupOf is the path of the container's control group from the root of each hierarchy, which no ".." leads out of. A
// relative parent begins there, too. A parent that the user names stays after the container, as in Docker.
func groupOf(r *record.Record) string {
	return path.Join("/", cmp.Or(r.HostConfig.CgroupParent, ParentGroup), r.ID)
}

func hostNamespaces(r *record.Record) []specs.LinuxNamespaceType {
	var list []specs.LinuxNamespaceType
	h := r.HostConfig
	if h.NetworkMode.IsHost() {
		list = append(list, specs.NetworkNamespace)
	}
	if h.IpcMode.IsHost() {
		list = append(list, specs.IPCNamespace)
	}
	if h.PidMode.IsHost() {
		list = append(list, specs.PIDNamespace)
	}
	if h.UTSMode.IsHost() {
		list = append(list, specs.UTSNamespace)
	}
	return list
}

// mountOpts are the filesystems that a container finds beside its own.
func mountOpts(r *record.Record, sec security, mounts []specs.Mount) []oci.SpecOpts {
	h := r.HostConfig
	opts := []oci.SpecOpts{oci.WithDevShmSize((h.ShmSize + 1023) / 1024), oci.WithoutRunMount, cgroupMountOpt(sec.writableGroups)}
	if h.IpcMode.IsHost() || h.IpcMode.IsNone() || h.ShmOnHost() {
		opts = append(opts, oci.WithoutMounts("/dev/shm"))
	}
	return append(opts, overriddenOpt(mounts), oci.WithMounts(mounts))
}

// overriddenOpt leaves out the default mounts in whose place the container has others: those with the same destination,
// and all below /dev where the container has another /dev.
func overriddenOpt(mounts []specs.Mount) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Mounts = slices.DeleteFunc(s.Mounts, func(d specs.Mount) bool {
			return slices.ContainsFunc(mounts, func(m specs.Mount) bool {
				at := filepath.Clean(m.Destination)
				return at == d.Destination || at == "/dev" && strings.HasPrefix(d.Destination, "/dev/")
			})
		})
		return nil
	}
}

// cgroupMountOpt shows the container its control groups, which a privileged one
// may change, and one whose user asked for that.
func cgroupMountOpt(writable bool) oci.SpecOpts {
	access := "ro"
	if writable {
		access = "rw"
	}
	return oci.WithMounts([]specs.Mount{{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{access, "nosuid", "noexec", "nodev"},
	}})
}
