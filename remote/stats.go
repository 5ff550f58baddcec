package remote

import (
	"context"
	"fmt"
	"runtime"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

// Stats reads the counters of a task's control group. The error is NotImplemented for
// counters that are neither of version 1 nor of version 2 of control groups.
func (d *Daemon) Stats(ctx context.Context, id string) (*libcontainerd.Stats, error) {
	r, err := d.tasks.Metrics(ctx, &tasksapi.MetricsRequest{Filters: []string{"id==" + id}})
	if err != nil {
		return nil, err
	}
	for _, m := range r.Metrics {
		if m.ID != id {
			continue
		}
		data, err := typeurl.UnmarshalAny(m.Data)
		if err != nil {
			return nil, fmt.Errorf("cannot read the metrics of %q: %w", id, err)
		}
		s, err := stats(data)
		if err != nil {
			return nil, fmt.Errorf("cannot read the metrics of %q: %w", id, err)
		}
		s.Time = m.Timestamp.AsTime()
		return s, nil
	}
	return nil, fmt.Errorf("no metrics of %q: %w", id, errdefs.ErrNotFound)
}

func stats(data any) (*libcontainerd.Stats, error) {
	switch m := data.(type) {
	case *v1.Metrics:
		return statsV1(m), nil
	case *v2.Metrics:
		return statsV2(m), nil
	}
	return nil, fmt.Errorf("metrics of type %T: %w", data, errdefs.ErrNotImplemented)
}

func statsV1(m *v1.Metrics) *libcontainerd.Stats {
	usage, throttling, memory := m.GetCPU().GetUsage(), m.GetCPU().GetThrottling(), m.GetMemory()
	s := &libcontainerd.Stats{
		CPUTotal: usage.GetTotal(), CPUUser: usage.GetUser(), CPUKernel: usage.GetKernel(),
		ThrottledPeriods: throttling.GetPeriods(), Throttled: throttling.GetThrottledPeriods(),
		ThrottledTime: throttling.GetThrottledTime(), OnlineCPUs: onlineCPUs(len(usage.GetPerCPU())),
		MemoryUsage: memory.GetUsage().GetUsage(), MemoryMaxUsage: memory.GetUsage().GetMax(),
		MemoryLimit: memory.GetUsage().GetLimit(), MemoryInactiveFile: memory.GetTotalInactiveFile(),
		PidsCurrent: m.GetPids().GetCurrent(), PidsLimit: m.GetPids().GetLimit(),
		OOMKills: m.GetMemoryOomControl().GetOomKill(),
	}
	for _, e := range m.GetBlkio().GetIoServiceBytesRecursive() {
		switch e.Op {
		case "Read":
			s.BlockRead += e.Value
		case "Write":
			s.BlockWrite += e.Value
		}
	}
	return s
}

// perUsec is a microsecond, the unit of control groups version 2, in nanoseconds.
const perUsec = 1000

func statsV2(m *v2.Metrics) *libcontainerd.Stats {
	cpu, memory := m.GetCPU(), m.GetMemory()
	s := &libcontainerd.Stats{
		CPUTotal: perUsec * cpu.GetUsageUsec(), CPUUser: perUsec * cpu.GetUserUsec(),
		CPUKernel:        perUsec * cpu.GetSystemUsec(),
		ThrottledPeriods: cpu.GetNrPeriods(), Throttled: cpu.GetNrThrottled(),
		ThrottledTime: perUsec * cpu.GetThrottledUsec(), OnlineCPUs: onlineCPUs(0),
		MemoryUsage: memory.GetUsage(), MemoryMaxUsage: memory.GetMaxUsage(),
		MemoryLimit: memory.GetUsageLimit(), MemoryInactiveFile: memory.GetInactiveFile(),
		PidsCurrent: m.GetPids().GetCurrent(), PidsLimit: m.GetPids().GetLimit(),
		OOMKills: m.GetMemoryEvents().GetOomKill(),
	}
	for _, e := range m.GetIo().GetUsage() {
		s.BlockRead += e.Rbytes
		s.BlockWrite += e.Wbytes
	}
	return s
}

// onlineCPUs returns the number of per-CPU counters of the control group, or if there are
// none, the number of the host's CPUs.
func onlineCPUs(counters int) uint32 {
	if counters == 0 {
		counters = runtime.NumCPU()
	}
	return uint32(counters)
}
