package spec

import (
	"context"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/internal/hostlimits"
)

// capabilityOpt adds to and drops from Docker's default capabilities, which are
// containerd's too. "ALL" stands for all that this kernel and engine have.
func capabilityOpt(add, drop []string) oci.SpecOpts {
	return func(ctx context.Context, c oci.Client, ctr *containers.Container, s *oci.Spec) error {
		add, err := capabilityNames(add)
		if err != nil {
			return err
		}
		drop, err := capabilityNames(drop)
		if err != nil {
			return err
		}
		switch {
		case slices.Contains(add, "ALL"):
			err = oci.WithAllCurrentCapabilities(ctx, c, ctr, s)
		case slices.Contains(drop, "ALL"):
			err = oci.WithCapabilities(nil)(ctx, c, ctr, s)
		}
		if err != nil {
			return err
		}
		return oci.Compose(oci.WithAddedCapabilities(without(add, "ALL")), oci.WithDroppedCapabilities(without(drop, "ALL")))(ctx, c, ctr, s)
	}
}

func without(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(v string) bool { return v == s })
}

// capabilityNames brings names into the kernel's form: CAP_ and capitals.
func capabilityNames(names []string) ([]string, error) {
	var list []string
	for _, name := range names {
		n := strings.ToUpper(name)
		if n != "ALL" {
			n = "CAP_" + strings.TrimPrefix(n, "CAP_")
			if !slices.Contains(cap.Known(), n) {
				return nil, classed.Errorf(errdefs.ErrInvalidArgument, "unknown capability %q", name)
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// securityOpt acts on Docker's security options. Profiles of one's own come
// later.
func securityOpt(opts []string) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		for _, opt := range opts {
			switch strings.Replace(opt, ":", "=", 1) {
			case "no-new-privileges", "no-new-privileges=true":
				s.Process.NoNewPrivileges = true
			case "no-new-privileges=false", "seccomp=unconfined", "apparmor=unconfined", "label=disable":
			default:
				return classed.Errorf(errdefs.ErrNotImplemented, "engine-lite does not have the security option %q yet", opt)
			}
		}
		return nil
	}
}

func unconfined(opts []string) bool {
	return slices.ContainsFunc(opts, func(o string) bool { return strings.Replace(o, ":", "=", 1) == "seccomp=unconfined" })
}

// sysctlOpt sets kernel parameters that belong to a namespace of the container.
func sysctlOpt(sysctls map[string]string) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		if len(sysctls) > 0 {
			s.Linux.Sysctl = sysctls
		}
		return nil
	}
}

func ulimitOpt(limits []record.Ulimit) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		for _, l := range limits {
			if _, err := (&units.Ulimit{Name: l.Name, Hard: l.Hard, Soft: l.Soft}).GetRlimit(); err != nil {
				return classed.Errorf(errdefs.ErrInvalidArgument, "ulimit %q: %v", l.Name, err)
			}
			s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{
				Type: "RLIMIT_" + strings.ToUpper(l.Name), Soft: uint64(l.Soft), Hard: uint64(l.Hard),
			})
		}
		return nil
	}
}

func oomScoreOpt(score int) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		if score < -1000 || score > 1000 {
			return classed.Errorf(errdefs.ErrInvalidArgument, "the OOM score adjustment is %d, it has to be from -1000 to 1000", score)
		}
		if score != 0 {
			s.Process.OOMScoreAdj = &score
		}
		return nil
	}
}

// Withheld returns what this host keeps a container from having, as far as that can be known when the container is
// created: runtimed has this process's capabilities and limits, unless an engine that had others started the keeper.
// The truth is in the event of each start.
func Withheld(r *record.Record) ([]string, error) {
	s := &oci.Spec{Process: &specs.Process{}}
	if err := oci.Compose(ulimitOpt(r.HostConfig.Ulimits), oomScoreOpt(r.HostConfig.OomScoreAdj))(context.Background(), nil, nil, s); err != nil {
		return nil, err
	}
	bounds, err := hostlimits.Here()
	if err != nil {
		return nil, err
	}
	return bounds.Clamp(s.Process), nil
}

// minMemory is Docker's least memory limit: below it the OCI runtime itself
// can't start.
const minMemory = 6 << 20

// resourceOpts are the limits of the container's control group.
func resourceOpts(r record.Resources) []oci.SpecOpts {
	return []oci.SpecOpts{func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		if s.Linux.Resources == nil {
			s.Linux.Resources = &specs.LinuxResources{}
		}
		memory, err := memoryLimits(r)
		if err != nil {
			return err
		}
		cpu, err := cpuLimits(r)
		if err != nil {
			return err
		}
		s.Linux.Resources.Memory, s.Linux.Resources.CPU = memory, cpu
		if r.PidsLimit != nil && *r.PidsLimit > 0 {
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: r.PidsLimit}
		}
		return nil
	}}
}

func memoryLimits(r record.Resources) (*specs.LinuxMemory, error) {
	m := &specs.LinuxMemory{}
	switch {
	case r.Memory < 0 || r.MemoryReservation < 0:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "a memory limit can't be negative")
	case r.Memory > 0 && r.Memory < minMemory:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Minimum memory limit allowed is 6MB")
	case r.MemorySwap > 0 && r.Memory == 0:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	if r.Memory > 0 {
		m.Limit = &r.Memory
		swap := r.MemorySwap
		if swap == 0 {
			swap = 2 * r.Memory // as Docker does
		}
		m.Swap = &swap
	}
	if r.MemoryReservation > 0 {
		m.Reservation = &r.MemoryReservation
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && !keepsOOMKiller(r) {
		m.DisableOOMKiller = r.OomKillDisable
	}
	if *m == (specs.LinuxMemory{}) {
		return nil, nil
	}
	return m, nil
}

func cpuLimits(r record.Resources) (*specs.LinuxCPU, error) {
	c := &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.NanoCPUs != 0 && (r.CPUPeriod != 0 || r.CPUQuota != 0) {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set.")
	}
	if n := runtime.NumCPU(); r.NanoCPUs < 0 || r.NanoCPUs > int64(n)*1e9 {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", n, n)
	}
	if r.CPUShares > 0 {
		shares := uint64(r.CPUShares)
		c.Shares = &shares
	}
	period, quota := uint64(max(r.CPUPeriod, 0)), r.CPUQuota
	if r.NanoCPUs > 0 {
		period = 100_000
		quota = r.NanoCPUs * int64(period) / 1e9
	}
	if period > 0 {
		c.Period = &period
	}
	if quota != 0 {
		c.Quota = &quota
	}
	if *c == (specs.LinuxCPU{}) {
		return nil, nil
	}
	return c, nil
}

// keepsOOMKiller tells that a container asks to run without the OOM killer, and the kernel cannot do without it.
func keepsOOMKiller(r record.Resources) bool {
	return r.OomKillDisable != nil && *r.OomKillDisable && host.CgroupVersion() == "2"
}
