package engine

import (
	"context"
	"runtime"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/host"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// StatsOptions says how often counters are wanted.
type StatsOptions struct {
	// Stream goes on about once a second. Else one answer has the counters of now, and those of a second before in its
	// PreCPUStats.
	Stream bool
	// OneShot leaves the latter out, and answers at once.
	OneShot bool
}

// ContainerStats hands over the container's counters, until ctx ends for a stream. A container that doesn't run has none:
// the one answer says so.
func (e *Engine) ContainerStats(ctx context.Context, ref string, opts StatsOptions, fn func(container.StatsResponse) error) error {
	o, err := e.find(ref)
	if err != nil {
		return err
	}
	var last container.StatsResponse
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for first := true; ; first = false {
		r := o.Record()
		now := container.StatsResponse{ID: r.ID, Name: "/" + r.Name, OSType: runtime.GOOS, PreRead: last.Read, PreCPUStats: last.CPUStats}
		ctr, err := o.Live()
		if err == nil {
			s, err := ctr.Stats(ctx)
			if err != nil {
				return err
			}
			fillStats(&now, s)
		}
		if compares := first && err == nil && !opts.Stream && !opts.OneShot; !compares {
			if err := fn(now); err != nil || !opts.Stream || o.View().Gone {
				return err
			}
		}
		last = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func fillStats(to *container.StatsResponse, s *libcontainerd.Stats) {
	to.Read = s.Time
	to.CPUStats = container.CPUStats{
		CPUUsage:       container.CPUUsage{TotalUsage: s.CPUTotal, UsageInUsermode: s.CPUUser, UsageInKernelmode: s.CPUKernel},
		SystemUsage:    host.CPUTime(),
		OnlineCPUs:     uint32(runtime.NumCPU()),
		ThrottlingData: container.ThrottlingData{Periods: s.ThrottledPeriods, ThrottledPeriods: s.Throttled, ThrottledTime: s.ThrottledTime},
	}
	to.MemoryStats = container.MemoryStats{
		Usage: s.MemoryUsage, MaxUsage: s.MemoryMaxUsage, Limit: memoryLimit(s.MemoryLimit),
		Stats: map[string]uint64{"total_inactive_file": s.MemoryInactiveFile, "inactive_file": s.MemoryInactiveFile},
	}
	to.PidsStats = container.PidsStats{Current: s.PidsCurrent, Limit: s.PidsLimit}
	to.BlkioStats = container.BlkioStats{IoServiceBytesRecursive: []container.BlkioStatEntry{
		{Op: "read", Value: s.BlockRead}, {Op: "write", Value: s.BlockWrite},
	}}
}

// memoryLimit is the host's memory where the container has no limit of its own.
func memoryLimit(limit uint64) uint64 {
	if total := uint64(host.MemoryTotal()); limit == 0 || limit > total {
		return total
	}
	return limit
}
