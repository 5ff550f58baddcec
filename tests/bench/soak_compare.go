package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A reading is the least of so many reads, with such a pause before each.
const (
	readsPerReading = 10
	readEvery       = 400 * time.Millisecond
)

// gauge is something that may not be higher at the end than after the first minute.
type gauge struct {
	name, short string
	slack       float64 // how much it may grow, in MB; 0 for counts, which may not grow
}

// gauges have slack if Go's allocator or the rounding of a file system decides how much
// free space is kept. Memory is what a process has beside files after a collection: how much
// garbage it has depends on how many containers there were until then, and so on the machine.
var gauges = []gauge{
	{"engine-lite memory", "engine MB", 4}, {"engine-lite descriptors", "fds", 0},
	{"engine-lite goroutines", "gor.", 0},
	{"runtimed memory", "runtimed MB", 3}, {"runtimed descriptors", "fds", 0}, {"runtimed goroutines", "gor.", 0},
	{"keeper memory", "keeper MB", 1}, {"keeper descriptors", "fds", 0}, {"keeper goroutines", "gor.", 0},
	{"processes", "processes", 0}, {"mounts", "mounts", 0}, {"cgroups", "cgroups", 0}, {"files", "files", 0},
	{"disk", "disk MB", 2}, {"journal", "journal MB", 4},
}

func heading() string {
	row := fmt.Sprintf("%6s %10s", "minute", "containers")
	for _, g := range gauges {
		row += fmt.Sprintf(" %*s", g.width(), g.short)
	}
	return row
}

func (g gauge) width() int { return max(4, len(g.short)) }

// row is a line of the table below heading.
func (r *reading) row(minute int, made int64) string {
	row := fmt.Sprintf("%6d %10d", minute, made)
	for _, g := range gauges {
		if g.slack > 0 {
			row += fmt.Sprintf(" %*.1f", g.width(), r.figures[g.name])
		} else {
			row += fmt.Sprintf(" %*d", g.width(), r.things[g.name].count())
		}
	}
	return row
}

// compare returns an error for each gauge that has grown. For counts it names what there
// is more of.
func compare(first, last *reading) error {
	var errs []error
	for _, g := range gauges {
		before, after := first.things[g.name], last.things[g.name]
		switch {
		case g.slack > 0 && last.figures[g.name] > first.figures[g.name]+g.slack:
			errs = append(errs, fmt.Errorf("%s: %.1f MB, and %.1f after the first minute: more than %.0f more",
				g.name, last.figures[g.name], first.figures[g.name], g.slack))
		case g.slack == 0 && after.count() > before.count():
			errs = append(errs,
				fmt.Errorf("%s: %d, and %d after the first minute:%s", g.name, after.count(), before.count(),
					after.beyond(before)))
		}
	}
	return errors.Join(errs...)
}

// beyond lists the names of which there are more than before.
func (t things) beyond(before things) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if more := t[name] - before[name]; more > 0 {
			fmt.Fprintf(&b, "\n\t+%d %s", more, name)
		}
	}
	return b.String()
}
