package record

import (
	"slices"
	"testing"
	"time"
)

func TestHealthcheckCommand(t *testing.T) {
	for name, c := range map[string]struct {
		test, shell, want []string
	}{
		"none":        {[]string{"NONE"}, nil, nil},
		"none, words": {[]string{"NONE", "x"}, nil, nil},
		"empty":       {nil, nil, nil},
		"command":     {[]string{"CMD", "a", "b"}, []string{"zsh"}, []string{"a", "b"}},
		"shell":       {[]string{"CMD-SHELL", "a b"}, nil, []string{"/bin/sh", "-c", "a b"}},
		"own shell":   {[]string{"CMD-SHELL", "a b"}, []string{"zsh", "-e"}, []string{"zsh", "-e", "a b"}},
	} {
		r := &Record{Config: &Config{Shell: c.shell, Healthcheck: &HealthConfig{Test: c.test}}}
		got := r.HealthCheck()
		if (got == nil) != (c.want == nil) || (got != nil && !slices.Equal(got.Command, c.want)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	r := &Record{Config: &Config{Healthcheck: &HealthConfig{Test: []string{"CMD", "a"}}}}
	c := r.HealthCheck()
	if c.Interval != 30*time.Second || c.Timeout != 30*time.Second || c.StartPeriod != 0 ||
		c.StartInterval != 5*time.Second || c.Retries != 3 {
		t.Errorf("defaults %+v", c)
	}
}

// TestJudge checks the health after results of probes, one after the other.
func TestJudge(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type step struct {
		at      time.Duration // from the start
		code    int
		status  HealthStatus
		streak  int
		changed bool
		due     time.Duration // after the probe's end
	}
	for name, c := range map[string]struct {
		period time.Duration
		steps  []step
	}{
		"becomes healthy, unhealthy, healthy": {0, []step{
			{time.Second, 0, "healthy", 0, true, 10 * time.Second},
			{2 * time.Second, 0, "healthy", 0, false, 10 * time.Second},
			{3 * time.Second, 1, "healthy", 1, false, 10 * time.Second},
			{4 * time.Second, -1, "unhealthy", 2, true, 10 * time.Second},
			{5 * time.Second, 3, "unhealthy", 3, false, 10 * time.Second},
			{6 * time.Second, 0, "healthy", 0, true, 10 * time.Second},
		}},
		"a success between failures": {0, []step{
			{time.Second, 1, "starting", 1, false, 10 * time.Second},
			{2 * time.Second, 0, "healthy", 0, true, 10 * time.Second},
			{3 * time.Second, 1, "healthy", 1, false, 10 * time.Second},
			{4 * time.Second, 0, "healthy", 0, false, 10 * time.Second},
		}},
		"the start period": {time.Minute, []step{
			{time.Second, 1, "starting", 0, false, 2 * time.Second},
			{59 * time.Second, 1, "starting", 0, false, 10 * time.Second}, // its end is past the period
			{60 * time.Second, 1, "starting", 1, false, 10 * time.Second},
			{61 * time.Second, 1, "unhealthy", 2, true, 10 * time.Second},
		}},
		"a success ends the start period": {time.Minute, []step{
			{time.Second, 1, "starting", 0, false, 2 * time.Second},
			{2 * time.Second, 0, "healthy", 0, true, 10 * time.Second},
			{3 * time.Second, 1, "healthy", 1, false, 10 * time.Second},
			{4 * time.Second, 1, "unhealthy", 2, true, 10 * time.Second},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Record{StartedAt: start, Config: &Config{Healthcheck: &HealthConfig{
				Test: []string{"CMD", "x"}, Interval: 10 * time.Second, StartInterval: 2 * time.Second,
				StartPeriod: c.period, Retries: 2,
			}}}
			r.StartHealth()
			if r.Health.Status != "starting" || !r.Health.Due.Equal(start.Add(r.HealthCheck().Delay("starting", 0))) {
				t.Fatalf("at the start: %+v", r.Health)
			}
			for i, s := range c.steps {
				end := start.Add(s.at + time.Second)
				changed := r.Judge(r.HealthCheck(), ProbeResult{Start: start.Add(s.at), End: end, ExitCode: s.code})
				if h := r.Health; h.Status != s.status || h.FailingStreak != s.streak || changed != s.changed ||
					h.Due.Sub(end) != s.due {
					t.Errorf("step %d: %+v, changed %v, due in %v", i, h, changed, h.Due.Sub(end))
				}
				if n := len(r.Health.Log); n != min(i+1, KeptProbes) || r.Health.Log[n-1].ExitCode != s.code {
					t.Errorf("step %d: log %+v", i, r.Health.Log)
				}
			}
			r.EndHealth()
			log := len(r.Health.Log)
			if r.Health.Status != "unhealthy" {
				t.Errorf("after the end: %+v", r.Health)
			}
			r.StartHealth()
			if r.Health.Status != "starting" || r.Health.FailingStreak != 0 || len(r.Health.Log) != log {
				t.Errorf("started again: %+v", r.Health)
			}
		})
	}
}
