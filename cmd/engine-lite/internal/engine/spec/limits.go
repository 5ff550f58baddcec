package spec

import (
	"context"
	"errors"
	"maps"
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
		add, err := capabilityNames("CapAdd", add)
		if err != nil {
			return err
		}
		drop, err := capabilityNames("CapDrop", drop)
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
func capabilityNames(field string, names []string) ([]string, error) {
	var list []string
	for _, name := range names {
		n := strings.ToUpper(name)
		if n != "ALL" {
			n = "CAP_" + strings.TrimPrefix(n, "CAP_")
			if !slices.Contains(cap.Known(), n) {
				return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid %s: unknown capability: %q", field, n)
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// sysctlOpt sets kernel parameters that belong to a namespace of the container. As in Docker, a container with a network
// of its own may bind low ports and ping without a privilege. The domain's name is a kernel parameter as well: the
// spec's field for the name is newer than specVersion.
func sysctlOpt(r *record.Record) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		all := map[string]string{}
		if !r.HostConfig.NetworkMode.IsHost() {
			all["net.ipv4.ip_unprivileged_port_start"] = "0"
			all["net.ipv4.ping_group_range"] = "0 2147483647"
		}
		if r.Config.Domainname != "" && !r.HostConfig.UTSMode.IsHost() {
			all["kernel.domainname"] = r.Config.Domainname
		}
		maps.Copy(all, r.HostConfig.Sysctls)
		if len(all) > 0 {
			s.Linux.Sysctl = all
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
			return classed.Errorf(errdefs.ErrInvalidArgument, "Invalid value %d, range for oom score adj is [-1000, 1000]", score)
		}
		s.Process.OOMScoreAdj = &score // also 0: a process would inherit the daemon's
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
		limits, err := Limits(r)
		if err != nil {
			return err
		}
		if s.Linux.Resources == nil {
			s.Linux.Resources = &specs.LinuxResources{}
		}
		s.Linux.Resources.Memory, s.Linux.Resources.CPU = limits.Memory, limits.CPU
		if r.PidsLimit != nil && *r.PidsLimit > 0 {
			s.Linux.Resources.Pids = limits.Pids
		}
		return nil
	}}
}

// mostProcesses is how many processes the kernel can have (PID_MAX_LIMIT in include/linux/threads.h): as a limit it is
// none.
const mostProcesses = 4 << 20

// Limits are the limits of memory, processors and processes in the form of the OCI runtime specification. A limit of
// processes that is not above zero is none: it is mostProcesses, since crun 1.8 cannot take away a limit with -1. Those
// of block I/O are checked here, and [BlockIO] returns them. Errors: InvalidArgument.
func Limits(r record.Resources) (*specs.LinuxResources, error) {
	memory, err := memoryLimits(r)
	if err != nil {
		return nil, err
	}
	cpu, err := cpuLimits(r)
	if err != nil {
		return nil, err
	}
	if err := checkBlockIO(r); err != nil {
		return nil, err
	}
	limits := &specs.LinuxResources{Memory: memory, CPU: cpu}
	if r.PidsLimit != nil {
		n := *r.PidsLimit
		if n <= 0 {
			n = mostProcesses
		}
		limits.Pids = &specs.LinuxPids{Limit: &n}
	}
	return limits, nil
}

func memoryLimits(r record.Resources) (*specs.LinuxMemory, error) {
	m := &specs.LinuxMemory{}
	switch {
	case r.Memory < 0 || r.MemoryReservation < 0:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "a memory limit can't be negative")
	case r.Memory > 0 && r.Memory < minMemory:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Minimum memory limit allowed is 6MB")
	case r.MemoryReservation > 0 && r.MemoryReservation < minMemory:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Minimum memory reservation allowed is 6MB")
	case r.MemorySwap > 0 && r.Memory == 0:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemoryReservation > 0 && r.Memory > 0 && r.Memory < r.MemoryReservation:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Minimum memory limit can not be less than memory reservation limit, see usage")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	if r.Memory > 0 {
		m.Limit = &r.Memory
		swap := r.MemorySwap
		if swap == 0 {
			swap = 2 * r.Memory // as Docker does
		}
		if host.HasSwapLimit() {
			m.Swap = &swap
		}
	}
	if r.MemoryReservation > 0 {
		m.Reservation = &r.MemoryReservation
	}
	if host.CgroupVersion() == "1" { // version 2 has neither of both
		if r.OomKillDisable != nil && *r.OomKillDisable {
			m.DisableOOMKiller = r.OomKillDisable
		}
		if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
			swappiness := uint64(*r.MemorySwappiness)
			m.Swappiness = &swappiness
		}
	}
	if *m == (specs.LinuxMemory{}) {
		return nil, nil
	}
	return m, nil
}

// checkCPU refuses what makes no sense, in Docker's words.
func checkCPU(r record.Resources) error {
	switch {
	case r.CPUShares < 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1_000_000):
		return classed.Errorf(errdefs.ErrInvalidArgument, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return classed.Errorf(errdefs.ErrInvalidArgument, "CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case r.CPURealtimePeriod < 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "cpu real-time period can't be negative")
	case r.CPURealtimePeriod != 0 && r.CPURealtimeRuntime > r.CPURealtimePeriod:
		return classed.Errorf(errdefs.ErrInvalidArgument, "cpu real-time runtime cannot be higher than cpu real-time period")
	case (r.CPURealtimePeriod != 0 || r.CPURealtimeRuntime != 0) && !host.HasRealtimeLimits():
		return classed.Errorf(errdefs.ErrInvalidArgument, "kernel does not support CPU real-time scheduler")
	}
	return errors.Join(host.CheckCPUSet(r.CpusetCpus), host.CheckMemorySet(r.CpusetMems))
}

func cpuLimits(r record.Resources) (*specs.LinuxCPU, error) {
	c := &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if err := checkCPU(r); err != nil {
		return nil, err
	}
	if n := runtime.NumCPU(); r.NanoCPUs < 0 || r.NanoCPUs > int64(n)*1e9 {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", n, n)
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
	if r.CPURealtimePeriod > 0 {
		period := uint64(r.CPURealtimePeriod)
		c.RealtimePeriod = &period
	}
	if r.CPURealtimeRuntime != 0 {
		c.RealtimeRuntime = &r.CPURealtimeRuntime
	}
	if *c == (specs.LinuxCPU{}) {
		return nil, nil
	}
	return c, nil
}
