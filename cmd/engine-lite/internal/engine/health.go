package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// What a health check has where it doesn't say, as in Docker.
const (
	defaultProbeInterval = 30 * time.Second
	defaultProbeTimeout  = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultProbeRetries  = 3
)

// maxTest bounds the bytes of a health check's command, so that the events that
// tell of it fit into the journal. Linux takes no longer argument.
const maxTest = 128 << 10

// keptProbes is how many results a container's record has.
const keptProbes = 5

// health is what the probes of a container's run have shown. What they showed of
// earlier runs stays in Log.
type health struct {
	Status        container.HealthStatus
	FailingStreak int
	// Log has the latest results, oldest first.
	Log []container.HealthcheckResult
	// Due is when the next probe is to begin, for an engine that takes the run up.
	Due time.Time
}

// healthcheck is a container's health check with the defaults filled in.
type healthcheck struct {
	// command is what a probe runs.
	command []string
	// interval is the time from a probe's end to the next one's begin,
	// startInterval takes its place until the first success within startPeriod.
	interval, timeout, startPeriod, startInterval time.Duration
	// retries is how many failures in a row make a container unhealthy.
	retries int
}

// healthcheck returns nil where a container has none.
func (r *record) healthcheck() *healthcheck {
	h := r.Config.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	c := &healthcheck{
		interval: orDefault(h.Interval, defaultProbeInterval), timeout: orDefault(h.Timeout, defaultProbeTimeout),
		startPeriod: h.StartPeriod, startInterval: orDefault(h.StartInterval, defaultStartInterval),
		retries: orDefault(h.Retries, defaultProbeRetries),
	}
	switch h.Test[0] {
	case "CMD":
		c.command = h.Test[1:]
	case "CMD-SHELL":
		shell := r.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		c.command = slices.Concat(shell, h.Test[1:])
	default: // NONE
		return nil
	}
	return c
}

func orDefault[T ~int | ~int64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// checkHealthcheck refuses a health check that can't be meant, as Docker does,
// and one that Docker would not run.
func checkHealthcheck(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.value != 0 && d.value < container.MinimumDuration {
			return refuse(errdefs.ErrInvalidArgument, "%s in Healthcheck cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	switch {
	case h.Retries < 0:
		return refuse(errdefs.ErrInvalidArgument, "Retries in Healthcheck cannot be negative")
	case len(h.Test) == 0 || h.Test[0] == "NONE":
		return nil
	case h.Test[0] != "CMD" && h.Test[0] != "CMD-SHELL":
		return refuse(errdefs.ErrInvalidArgument, "Test in Healthcheck begins with NONE, CMD or CMD-SHELL, not with %q", h.Test[0])
	case len(h.Test) == 1:
		return refuse(errdefs.ErrInvalidArgument, "Test in Healthcheck has no command after %s", h.Test[0])
	}
	if size := len(strings.Join(h.Test, " ")); size > maxTest {
		return refuse(errdefs.ErrInvalidArgument, "Test in Healthcheck has %d bytes, more than %d", size, maxTest)
	}
	return nil
}

// mergeHealthcheck fills in from the image's health check what the request left
// open, part by part.
func mergeHealthcheck(h, from *container.HealthConfig) *container.HealthConfig {
	if from == nil {
		return h
	}
	var merged container.HealthConfig
	if h != nil {
		merged = *h
	}
	if len(merged.Test) == 0 {
		merged.Test = slices.Clone(from.Test)
	}
	merged.Interval = orDefault(merged.Interval, from.Interval)
	merged.Timeout = orDefault(merged.Timeout, from.Timeout)
	merged.StartPeriod = orDefault(merged.StartPeriod, from.StartPeriod)
	merged.StartInterval = orDefault(merged.StartInterval, from.StartInterval)
	merged.Retries = orDefault(merged.Retries, from.Retries)
	return &merged
}

// pause is the time until the next probe of a run that has lasted so long.
func (c *healthcheck) pause(status container.HealthStatus, run time.Duration) time.Duration {
	if status == container.Starting && run < c.startPeriod {
		return min(c.startInterval, c.startPeriod-run)
	}
	return c.interval
}

// startHealth begins anew with a run. Nobody is told, as with Docker.
func (r *record) startHealth() {
	c := r.healthcheck()
	if c == nil {
		return
	}
	var log []container.HealthcheckResult
	if r.Health != nil {
		log = r.Health.Log
	}
	r.Health = &health{Status: container.Starting, Log: log, Due: r.StartedAt.Add(c.pause(container.Starting, 0))}
}

// endHealth is what an ended container's health is: Docker shows it as unhealthy.
func (r *record) endHealth() {
	if r.Health != nil {
		r.Health.Status = container.Unhealthy
	}
}

// judge takes a probe's result in and tells whether it changes the status. A
// failure in the start period counts only after a success.
func (r *record) judge(c *healthcheck, result container.HealthcheckResult) (changed bool) {
	h := r.Health
	was := h.Status
	h.Log = append(h.Log, result)
	h.Log = h.Log[max(0, len(h.Log)-keptProbes):]
	switch {
	case result.ExitCode == 0:
		h.Status, h.FailingStreak = container.Healthy, 0
	case was == container.Starting && result.Start.Sub(r.StartedAt) < c.startPeriod:
	default:
		if h.FailingStreak++; h.FailingStreak >= c.retries {
			h.Status = container.Unhealthy
		}
	}
	h.Due = result.End.Add(c.pause(h.Status, result.End.Sub(r.StartedAt)))
	return h.Status != was
}

// inspectHealth is nil where the container has no health check or never ran.
func inspectHealth(r *record) *container.Health {
	if r.Health == nil {
		return nil
	}
	h := &container.Health{Status: r.Health.Status, FailingStreak: r.Health.FailingStreak, Log: []*container.HealthcheckResult{}}
	for _, result := range r.Health.Log {
		h.Log = append(h.Log, &result)
	}
	return h
}

func healthSummary(r *record) *container.HealthSummary {
	if r.Health == nil {
		return &container.HealthSummary{Status: container.NoHealthcheck}
	}
	return &container.HealthSummary{Status: r.Health.Status, FailingStreak: r.Health.FailingStreak}
}

// healthText is what docker ps says of a running container's health.
func healthText(r *record) string {
	switch {
	case r.Health == nil:
		return ""
	case r.Health.Status == container.Starting:
		return " (health: starting)"
	default:
		return " (" + string(r.Health.Status) + ")"
	}
}
