package filters

import (
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// ErrPruneRunning is the answer to a prune while another one of the same things runs.
var ErrPruneRunning = classed.Errorf(errdefs.ErrConflict, "a prune operation is already running")

// Bool reads a filter that is true or false; otherwise is its value where a request doesn't have the filter. Errors:
// InvalidArgument.
func (f Filters) Bool(name string, otherwise bool) (bool, error) {
	values, ok := f[name]
	if !ok {
		return otherwise, nil
	}
	yes := slices.Contains(values, "true") || slices.Contains(values, "1")
	no := slices.Contains(values, "false") || slices.Contains(values, "0")
	if len(values) == 0 {
		return false, classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", name)
	}
	if yes == no {
		return false, classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s=%v'", name, slices.Sorted(slices.Values(values)))
	}
	return yes, nil
}

// Until reads the filter until: a time, or a duration before now. It is the zero time where a request doesn't have the
// filter. Errors: InvalidArgument.
func (f Filters) Until(now time.Time) (time.Time, error) {
	values, ok := f["until"]
	if !ok {
		return time.Time{}, nil
	}
	if len(values) > 1 {
		return time.Time{}, classed.Errorf(errdefs.ErrInvalidArgument, "more than one until filter specified")
	}
	if len(values) == 0 || strings.TrimSpace(values[0]) == "" {
		return time.Time{}, classed.Errorf(errdefs.ErrInvalidArgument, "failed to parse value as time or duration: value is empty")
	}
	until, ok := Moment(values[0], now)
	if !ok {
		return time.Time{}, classed.Errorf(errdefs.ErrInvalidArgument,
			"failed to parse value as time or duration: invalid seconds %q: invalid syntax", values[0])
	}
	if until.IsZero() { // it would read as no bound at all, and everything would be pruned
		return time.Unix(0, 0), nil
	}
	return until, nil
}

// Labelled tells whether a thing with these labels is pruned: it has all that the filter label names, and none that the
// filter label! names.
func (f Filters) Labelled(labels map[string]string) bool {
	has := func(want string) bool { return HasLabel(labels, want) }
	return f.All("label", has) && !slices.ContainsFunc(f["label!"], has)
}
