package record

import (
	"cmp"
	"slices"
	"time"
)

// What a health check has where it doesn't say, as in Docker.
const (
	defaultProbeInterval = 30 * time.Second
	defaultProbeTimeout  = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultProbeRetries  = 3
)

// KeptProbes is how many results a container's record has.
const KeptProbes = 5

// Health is what the probes of a container's run have shown. Log keeps results of earlier runs.
type Health struct {
	Status        HealthStatus
	FailingStreak int
	// Log has the latest results, oldest first.
	Log []ProbeResult
	// Due is when the next probe is to begin, for an engine that takes the run up.
	Due time.Time

	Unknown Unknown `json:",embed"`
}

// HealthStatus is what the results of probes amount to.
type HealthStatus string

// The statuses of a container's health.
const (
	// NoHealthcheck is that of a container without a health check, or that never ran.
	NoHealthcheck HealthStatus = "none"
	Starting      HealthStatus = "starting"
	Healthy       HealthStatus = "healthy"
	Unhealthy     HealthStatus = "unhealthy"
)

// ProbeResult is what a probe has shown.
type ProbeResult struct {
	Start, End time.Time
	// ExitCode is 0 for healthy and -1 where the probe has none.
	ExitCode int
	Output   string

	Unknown Unknown `json:",embed"`
}

// HealthCheck is a container's health check with the defaults filled in.
type HealthCheck struct {
	// command is what a probe runs.
	Command []string
	// interval is the time from a probe's end to the next one's begin,
	// startInterval takes its place until the first success within startPeriod.
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	// retries is how many failures in a row make a container unhealthy.
	Retries int
}

// HealthCheck returns nil where a container has none.
func (r *Record) HealthCheck() *HealthCheck {
	h := r.Config.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	c := &HealthCheck{
		Interval: cmp.Or(h.Interval, defaultProbeInterval), Timeout: cmp.Or(h.Timeout, defaultProbeTimeout),
		StartPeriod: h.StartPeriod, StartInterval: cmp.Or(h.StartInterval, defaultStartInterval),
		Retries: cmp.Or(h.Retries, defaultProbeRetries),
	}
	switch h.Test[0] {
	case "CMD":
		c.Command = h.Test[1:]
	case "CMD-SHELL":
		shell := r.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		c.Command = slices.Concat(shell, h.Test[1:])
	default: // NONE
		return nil
	}
	return c
}

// Delay is the time until the next probe of a run that has lasted so long.
func (c *HealthCheck) Delay(status HealthStatus, run time.Duration) time.Duration {
	if status == Starting && run < c.StartPeriod {
		return min(c.StartInterval, c.StartPeriod-run)
	}
	return c.Interval
}

// StartHealth resets the health for a new run. There is no event, as with Docker.
func (r *Record) StartHealth() {
	c := r.HealthCheck()
	if c == nil {
		return
	}
	var log []ProbeResult
	if r.Health != nil {
		log = r.Health.Log
	}
	r.Health = &Health{Status: Starting, Log: log, Due: r.StartedAt.Add(c.Delay(Starting, 0))}
}

// EndHealth sets what an ended container's health is: Docker shows it as unhealthy.
func (r *Record) EndHealth() {
	if r.Health != nil {
		r.Health.Status = Unhealthy
	}
}

// Judge adds the result of a probe and tells whether the status changes. A
// failure in the start period counts only after a success.
func (r *Record) Judge(c *HealthCheck, result ProbeResult) (changed bool) {
	h := r.Health
	was := h.Status
	h.Log = append(h.Log, result)
	h.Log = h.Log[max(0, len(h.Log)-KeptProbes):]
	switch {
	case result.ExitCode == 0:
		h.Status, h.FailingStreak = Healthy, 0
	case was == Starting && result.Start.Sub(r.StartedAt) < c.StartPeriod:
	default:
		if h.FailingStreak++; h.FailingStreak >= c.Retries {
			h.Status = Unhealthy
		}
	}
	h.Due = result.End.Add(c.Delay(h.Status, result.End.Sub(r.StartedAt)))
	return h.Status != was
}
