package inspect

import (
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// health is nil where the container has no health check or never ran.
func health(r *record.Record) *container.Health {
	if r.Health == nil {
		return nil
	}
	h := &container.Health{
		Status: container.HealthStatus(r.Health.Status), FailingStreak: r.Health.FailingStreak, Log: []*container.HealthcheckResult{},
	}
	for _, p := range r.Health.Log {
		h.Log = append(h.Log, &container.HealthcheckResult{Start: p.Start, End: p.End, ExitCode: p.ExitCode, Output: p.Output})
	}
	return h
}

// HealthSummary is what a list shows of a container's health.
func HealthSummary(r *record.Record) *container.HealthSummary {
	if r.Health == nil {
		return &container.HealthSummary{Status: container.NoHealthcheck}
	}
	return &container.HealthSummary{Status: container.HealthStatus(r.Health.Status), FailingStreak: r.Health.FailingStreak}
}

// healthText is what docker ps says of a running container's health.
func healthText(r *record.Record) string {
	switch {
	case r.Health == nil:
		return ""
	case r.Health.Status == record.Starting:
		return " (health: starting)"
	default:
		return " (" + string(r.Health.Status) + ")"
	}
}
