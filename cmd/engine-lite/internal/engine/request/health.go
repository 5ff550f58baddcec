package request

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// maxTest bounds the bytes of a health check's command, so that the events that
// tell of it fit into the journal. Linux takes no longer argument.
const maxTest = 128 << 10

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
			return classed.Errorf(errdefs.ErrInvalidArgument, "%s in Healthcheck cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	switch {
	case h.Retries < 0:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Retries in Healthcheck cannot be negative")
	case len(h.Test) == 0 || h.Test[0] == "NONE":
		return nil
	case h.Test[0] != "CMD" && h.Test[0] != "CMD-SHELL":
		return classed.Errorf(errdefs.ErrInvalidArgument, "Test in Healthcheck begins with NONE, CMD or CMD-SHELL, not with %q", h.Test[0])
	case len(h.Test) == 1:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Test in Healthcheck has no command after %s", h.Test[0])
	}
	if size := len(strings.Join(h.Test, " ")); size > maxTest {
		return classed.Errorf(errdefs.ErrInvalidArgument, "Test in Healthcheck has %d bytes, more than %d", size, maxTest)
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
	merged.Interval = cmp.Or(merged.Interval, from.Interval)
	merged.Timeout = cmp.Or(merged.Timeout, from.Timeout)
	merged.StartPeriod = cmp.Or(merged.StartPeriod, from.StartPeriod)
	merged.StartInterval = cmp.Or(merged.StartInterval, from.StartInterval)
	merged.Retries = cmp.Or(merged.Retries, from.Retries)
	return &merged
}
