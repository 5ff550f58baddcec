package engine

import (
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// inspectHealth is nil where the container has no health check or never ran.
func inspectHealth(r *record.Record) *container.Health {
	if r.Health == nil {
		return nil
	}
	h := &container.Health{Status: r.Health.Status, FailingStreak: r.Health.FailingStreak, Log: []*container.HealthcheckResult{}}
	for _, result := range r.Health.Log {
		h.Log = append(h.Log, &result)
	}
	return h
}

func healthSummary(r *record.Record) *container.HealthSummary {
	if r.Health == nil {
		return &container.HealthSummary{Status: container.NoHealthcheck}
	}
	return &container.HealthSummary{Status: r.Health.Status, FailingStreak: r.Health.FailingStreak}
}

// healthText is what docker ps says of a running container's health.
func healthText(r *record.Record) string {
	switch {
	case r.Health == nil:
		return ""
	case r.Health.Status == container.Starting:
		return " (health: starting)"
	default:
		return " (" + string(r.Health.Status) + ")"
	}
}
