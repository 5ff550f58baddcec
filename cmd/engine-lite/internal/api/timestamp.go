package api

import (
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

// moment reads a parameter that is a point in time; zero where the parameter isn't
// given, or is 0.
func (r *request) moment(key string) (time.Time, error) {
	value := r.query.Get(key)
	t, ok := filters.Moment(value, time.Now())
	if !ok {
		return time.Time{}, invalid("invalid value for %q: invalid timestamp %q: invalid seconds %q: invalid syntax", key, value, value)
	}
	return t, nil
}
