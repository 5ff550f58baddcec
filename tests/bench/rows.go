package main

import (
	"fmt"
	"slices"
)

// row is one line of the table: one thing that is measured.
type row struct {
	name, title, unit string
	more              bool               // more is better
	versusBare        map[string]float64 // the goal as a factor of the bare runtime, by the runtime below the engine
	// the bare runtime that all are compared with; empty for the one below the engine
	base    string
	limit   float64 // the goal itself; 0 if there is none
	limitOf string  // the only runtime that the limit is for; empty for any
	docker  float64 // the goal as a factor of docker's figure; 0 if there is none
	goal    string  // in words
}

// rows are the table of the goals of engine-lite, in order. After them come rows that
// explain the others.
var rows = []row{
	{name: "run", title: "create, start, wait, delete", unit: "ms",
		versusBare: map[string]float64{"runc": 1.5, "crun": 2}, goal: "≤ 1.5 × bare `run` with runc, ≤ 2 × with crun"},
	{name: "start", title: "start alone", unit: "ms", versusBare: map[string]float64{"runc": 1.25, "crun": 1.25},
		goal: "≤ 1.25 × bare `create` + `start`"},
	{name: "exec", title: "exec: create, start, EOF, exit code", unit: "ms",
		versusBare: map[string]float64{"runc": 1.3, "crun": 2}, goal: "≤ 1.3 × bare `exec` with runc, ≤ 2 × with crun"},
	{name: "die", title: "end of the process → `die` at a subscriber", unit: "ms", limit: 2.5,
		goal: "≤ 2.5 ms + a commit"},
	{name: "wait", title: "end of the process → `wait` returns", unit: "ms", limit: 2.5, goal: "≤ 2.5 ms + a commit"},
	{name: "stdout", title: "stdout to an attached client, log driver none", unit: "MB/s", more: true,
		versusBare: map[string]float64{"runc": 2, "crun": 2}, base: "runc", goal: "≥ 2 × bare runc"},
	{name: "logs", title: "the same through json-file, lines of text", unit: "MB/s", more: true, limit: 400,
		goal: "≥ 400, ≥ 6 × dockerd"},
	{name: "stdin", title: "stdin to `cat >/dev/null`", unit: "MB/s", more: true,
		versusBare: map[string]float64{"runc": 1, "crun": 1}, base: "runc", goal: "≥ 1.0 × bare runc"},
	{name: "echo", title: "a line to `cat` and back, through attach", unit: "ms"},
	{name: besideLogged, title: "… beside a container that writes through json-file as fast as it can",
		unit: "× the time alone", limit: 1.5, goal: "≤ 1.5 ×"},
	{name: besideNull, title: "… beside the same program writing to /dev/null", unit: "× the time alone"},
	{name: "many", title: "create+start, 8 at a time", unit: "/s", more: true,
		versusBare: map[string]float64{"runc": 0.7, "crun": 0.7}, goal: "≥ 0.7 × bare `create` + `start`"},
	{name: "remove", title: "kill+remove, 8 at a time", unit: "/s", more: true, limit: 100, limitOf: "crun",
		goal: "≥ 100 with crun"},
	{name: "memory", title: "memory (PSS) of the engine's processes, no container", unit: "MB", limit: 40,
		goal: "≤ 40 MB"},
	{name: "memory-each", title: "… more per running container", unit: "MB", limit: 0.1, goal: "≤ 0.10 MB"},

	{name: "mounts", title: "start with 5 binds and 2 volumes, more than without", unit: "ms", limit: 1, goal: "≤ 1 ms"},
	{name: "cp-in-big", title: "cp of one big file into a container", unit: "MB/s", more: true, docker: 1, goal: asFast},
	{name: "cp-out-big", title: "… out of it", unit: "MB/s", more: true, docker: 1, goal: asFast},
	{name: "commit-big", title: "… commit of the container", unit: "MB/s", more: true, docker: 1, goal: asFast},
	{name: "copy-up-big", title: "… create with the file in a new volume", unit: "MB/s", more: true, docker: 1, goal: asFast},
	{name: "cp-memory", title: "… memory of the engine beyond that before, at the most", unit: "MB", limit: 64, goal: "≤ 64 MB"},
	{name: "cp-in-small", title: "cp of small files into a container", unit: "files/s", more: true, docker: 1, goal: asFast},
	{name: "cp-out-small", title: "… out of it", unit: "files/s", more: true, docker: 1, goal: asFast},
	{name: "commit-small", title: "… commit of the container", unit: "files/s", more: true, docker: 1, goal: asFast},
	{name: "copy-up-small", title: "… create with the files in a new volume", unit: "files/s", more: true, docker: 1, goal: asFast},
	{name: "diff", title: "diff of a container with many new files", unit: "ms", docker: 0.5, goal: "≤ a half of dockerd's"},

	{name: "life", title: "bare `create` + `start` + `delete`", unit: "ms"},
	{name: "detached", title: "bare `run --detach`", unit: "ms"},
	{name: "many-detached", title: "bare `run --detach`, 8 at a time", unit: "/s", more: true},
	{name: "exit", title: "SIGKILL → end of the process", unit: "ms"},
	{name: "commit", title: "a commit of the journal on this disk", unit: "ms"},
}

// asFast is the goal of most rows about files.
const asFast = "≥ dockerd's"

// commitTarget is the target of the row commit: the journal, on the disk that the engines
// use.
const commitTarget = "journal"

func rowNames() []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

func rowNamed(name string) row {
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	if i < 0 {
		return row{name: name, title: name}
	}
	return rows[i]
}

// baseOf is the bare runtime that an engine with a runtime is compared with.
func (w row) baseOf(runtime string) string {
	if w.base != "" {
		return w.base
	}
	return runtime
}

// goalResult says whether a figure of an engine with a runtime reaches the goal.
type goalResult int

const (
	noGoal goalResult = iota
	reached
	missed
)

// compareWithGoal compares a figure and its ratio to the bare runtime with the goal.
// allowance is added to the limits of rows that include a commit. docker is docker's
// figure, for goals that depend on it.
func (w row) compareWithGoal(figure, ratio float64, runtime string, allowance, docker float64) goalResult {
	factor, relative := w.versusBare[runtime]
	switch {
	case relative && ratio > 0:
		return w.fits(ratio, factor)
	case w.docker > 0 && docker > 0:
		return w.fits(figure, w.docker*docker)
	case w.limit > 0 && (w.limitOf == "" || w.limitOf == runtime):
		limit := w.limit
		if w.name == "die" || w.name == "wait" {
			limit += allowance
		}
		if w.name == "logs" && docker > 0 {
			limit = max(limit, 6*docker)
		}
		return w.fits(figure, limit)
	default:
		return noGoal
	}
}

func (w row) fits(figure, limit float64) goalResult {
	if w.more == (figure >= limit) || figure == limit {
		return reached
	}
	return missed
}

// format formats a figure with three significant digits.
func (w row) format(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
