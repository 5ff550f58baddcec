package engine

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
)

// BenchmarkProbe is a probe on the runtime daemon in memory. The cost of that daemon is in the time, and an interval of
// 1 ms, the shortest that Docker allows.
func BenchmarkProbe(b *testing.B) {
	r := newRig(b)
	id := r.run("", "sleep 1000", checked("exit 1", func(h *container.HealthConfig) { h.Interval = time.Millisecond }))
	first := 0
	r.until(id, func(v containers.View) bool { first = v.Record.Health.FailingStreak; return first > 0 })
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		r.until(id, func(v containers.View) bool { return v.Record.Health.FailingStreak >= first+n })
	}
}
