package engine

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// BenchmarkProbe runs a probe that changes nothing. The time includes the work of the
// runtime daemon in memory.
func BenchmarkProbe(b *testing.B) {
	r := newRig(b)
	id := r.run("", "sleep 1000", checked("exit 0", func(h *container.HealthConfig) { h.Interval = time.Hour }))
	o := r.task(id)
	m := &monitor{engine: r.e, object: o, generation: o.Record().Generation, check: o.Record().HealthCheck()}
	b.ReportAllocs()
	for b.Loop() {
		m.probe(b.Context())
	}
	if h := o.Record().Health; h.Status != record.Healthy {
		b.Errorf("%+v", h)
	}
}
