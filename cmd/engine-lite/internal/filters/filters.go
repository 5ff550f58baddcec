// Package filters is the filters of Docker's API: names with the values that were asked for.
package filters

import (
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Filters are the values that a request asks for, by the name of the filter. A thing passes a name if it matches one of
// the values, and passes the filters if it passes each name.
type Filters map[string][]string

// HasLabel matches "key" or "key=value".
func HasLabel(labels map[string]string, want string) bool {
	key, value, withValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!withValue || got == value)
}

// Match tells whether one of the values of a filter passes; a filter that
// isn't there lets all through.
func (f Filters) Match(name string, fn func(string) bool) bool {
	values, ok := f[name]
	return !ok || len(values) == 0 || slices.ContainsFunc(values, fn)
}

// All tells whether each value of a filter passes.
func (f Filters) All(name string, fn func(string) bool) bool {
	return !slices.ContainsFunc(f[name], func(v string) bool { return !fn(v) })
}

// None tells that no filter is set for kinds of objects that don't exist here.
func (f Filters) None(names ...string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return len(f[n]) > 0 })
}

// Check refuses a filter whose name is not among those that are known. Errors: InvalidArgument.
func Check(f Filters, known []string) error {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(known, name) {
			return classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", name)
		}
	}
	return nil
}
