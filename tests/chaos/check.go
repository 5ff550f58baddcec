package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/engine-lite/engine-lite/events"
)

// sums are the numbers of the table.
type sums struct {
	kinds  map[string]*counts
	events int
	// volumes counts those that had an event.
	volumes int
}

// counts are the numbers for the containers of one kind.
type counts struct {
	containers, runs, compared, sigkilled, oom, restarts int
	// failed counts starts that failed. withoutEvents counts runs whose start no engine could
	// record before it was killed. withoutReport counts runs that ended before their first
	// report.
	failed, withoutEvents, withoutReport int
	unknown                              int
	execs, lines                         int
}

// runEvents are the events of one run of a container.
type runEvents struct {
	start, die *events.Event // start is nil where the start failed
	oom        int
}

// compare compares the reports of the containers with events, logs, records of the
// consumers and API.
func (w *world) compare(ctx context.Context) error {
	history, err := w.history(ctx)
	if err != nil {
		return err
	}
	w.sums = sums{kinds: map[string]*counts{}, events: len(history)}
	byID := map[string][]events.Event{}
	for _, e := range history {
		if e.Type == "container" {
			byID[e.ID] = append(byID[e.ID], e)
		}
	}
	for _, c := range w.containers {
		t := w.sums.kinds[c.kind]
		if t == nil {
			t = &counts{}
			w.sums.kinds[c.kind] = t
		}
		for _, d := range w.checkContainer(c, byID[c.id], t) {
			w.difference("container %s (%.12s): %s\n  events: %s\n  runs: %+v", c.name, c.id, d, brief(byID[c.id]),
				w.reports.runsOf(c.name, false))
		}
		delete(byID, c.id)
	}
	for id, list := range byID {
		w.difference("container %.12s belongs to no user: %s", id, brief(list))
	}
	for _, c := range w.consumers {
		c.compare(ctx, w, history)
	}
	w.checkVolumes(ctx, history)
	w.checkLeftovers(ctx)
	return nil
}

func brief(list []events.Event) string {
	var words []string
	for _, e := range list {
		action, _, _ := strings.Cut(e.Action, ":")
		words = append(words, fmt.Sprintf("%s/%d", action, e.Generation))
		if code, ok := e.Attributes["exitCode"]; ok {
			words[len(words)-1] += "=" + code
		}
	}
	return strings.Join(words, " ")
}

// checkContainer returns what is wrong with the events, logs and answers about one
// container.
func (w *world) checkContainer(c *container, list []events.Event, t *counts) (faults []string) {
	t.containers++
	runs, err := runsFromEvents(list)
	if err != nil {
		return []string{err.Error()}
	}
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	matched := w.match(c, runs, t, fault)
	c.checkAnswered(list, fault)
	c.checkLastState(runs, t, fault)
	w.checkExecs(c, list, t, fault)
	if c.final != nil {
		cutOff := c.startsNotDone()+w.killsDuring(c, runs) > 0
		t.lines += c.checkLogs(w.reports.runsOf(c.name, false), matched, cutOff, fault)
	}
	return faults
}

// runsFromEvents checks that the events of a container come in an order that is possible.
// It returns the container's runs: one exit for each start, in order, each with its own
// generation.
func runsFromEvents(list []events.Event) ([]runEvents, error) {
	var runs []runEvents
	state, generation := "", uint64(0)
	for i, e := range list {
		wrong := func() error {
			return fmt.Errorf("event %d (%s) comes when the container is %q", e.Seq, e.Action, state)
		}
		alive := state == "running" || state == "paused"
		if state == "gone" || (state == "") != (e.Action == "create") {
			return nil, wrong()
		}
		switch e.Action {
		case "create":
			state = "created"
		case "start":
			if alive || e.Generation != generation+1 {
				return nil, wrong()
			}
			state, generation = "running", e.Generation
			runs = append(runs, runEvents{start: &list[i]})
		case "oom":
			if !alive {
				return nil, wrong()
			}
			runs[len(runs)-1].oom++
		case "pause", "unpause":
			to := map[string]string{"pause": "paused", "unpause": "running"}[e.Action]
			if !alive || state == to {
				return nil, wrong()
			}
			state = to
		case "die":
			if !alive {
				runs = append(runs, runEvents{})
				generation++
			}
			if e.Generation != generation {
				return nil, wrong()
			}
			runs[len(runs)-1].die, state = &list[i], "ended"
		case "destroy":
			if alive {
				return nil, wrong()
			}
			state = "gone"
		}
	}
	if state != "gone" {
		return nil, fmt.Errorf("after the last event the container is %q", state)
	}
	return runs, nil
}

// match finds the reports of each run that has events, and compares both. It returns the
// tokens of these runs. The process of a run is created before the event of its start, and
// that event comes before the process of the next run is created.
func (w *world) match(c *container, runs []runEvents, t *counts, fault func(string, ...any)) map[string]bool {
	reported := w.reports.runsOf(c.name, false)
	matched := map[string]bool{}
	for _, r := range runs {
		t.runs++
		if r.start == nil {
			t.failed++
			if code, _ := strconv.Atoi(r.die.Attributes["exitCode"]); code < 125 || code > 128 {
				fault("a start failed with %d", code)
			}
			continue
		}
		var report *run
		for i := range reported {
			if reported[i].created <= r.start.Time.UnixNano() {
				report = &reported[i]
			}
		}
		if report == nil || matched[report.token] {
			t.withoutReport++
			report = &run{}
		}
		matched[report.token] = true
		w.checkRun(c, r, report, t, fault)
	}
	delete(matched, "")
	withoutEvents := len(reported) - len(matched)
	t.withoutEvents += withoutEvents
	if allowed := c.startsNotDone() + w.killsDuring(c, runs); withoutEvents > allowed {
		fault("%d runs have no events, and only %d starts were cut off", withoutEvents, allowed)
	}
	return matched
}

// startsNotDone counts the user's starts to which no engine answered that they were done.
func (c *container) startsNotDone() int {
	n := 0
	for _, a := range c.starts {
		if !a.done() {
			n++
		}
	}
	return n
}

// killsDuring counts the kills of engine and runtimed while a restart policy may have been
// starting the container again.
func (w *world) killsDuring(c *container, runs []runEvents) int {
	n := 0
	for i, r := range runs {
		if c.kind != "fails" || i+1 == len(runs) {
			continue
		}
		next := runs[i+1].start
		if next == nil {
			next = runs[i+1].die // the start has failed, perhaps since runtimed was killed in its middle
		}
		for _, k := range w.kills {
			if k.at.After(r.die.Time) && k.at.Before(next.Time) {
				n++
			}
		}
	}
	return n
}

// checkRun compares the events of one run with its reports. reported has no token if the
// process ended before its first report.
func (w *world) checkRun(c *container, r runEvents, reported *run, t *counts, fault func(string, ...any)) {
	code := r.die.Attributes["exitCode"]
	if why := r.die.Attributes["exitUnknown"]; why != "" {
		t.unknown++
		fault("run %d: the exit code is unknown: %s", r.start.Generation, why)
	}
	t.compared++
	const sigkill = "137"
	switch {
	case reported.ended && code == strconv.Itoa(reported.code) && r.oom == 0:
	case reported.eating && code == sigkill && r.oom == 1:
		t.oom++
	case c.killed && code == sigkill && r.oom == 0:
		t.sigkilled++
	case c.stopped && !reported.ended && reported.out+reported.err == 0 && code == noHandlerYet:
	default:
		fault("run %d: its events have exit code %s and %d oom; its reports: %+v", r.start.Generation, code, r.oom,
			*reported)
	}
}

// noHandlerYet is the exit code of a Go program that gets SIGTERM before it has installed
// its handler. The program may already have sent its first report by then.
const noHandlerYet = "2"

// checkAnswered checks that each request that was answered as done has its event.
func (c *container) checkAnswered(list []events.Event, fault func(string, ...any)) {
	count := map[string]int{}
	for _, e := range list {
		action, _, _ := strings.Cut(e.Action, ":")
		count[action]++
	}
	for action, n := range c.done {
		if count[action] < n {
			fault("%d times answered as done: %s; %d events", n, action, count[action])
		}
	}
	for _, a := range c.starts {
		if a.done() && !slices.ContainsFunc(list, func(e events.Event) bool {
			return e.Action == "start" && !e.Time.Before(a.sent) && !e.Time.After(a.answered)
		}) {
			fault("a start that was answered at %s has no event", a.answered)
		}
	}
}

// checkLastState compares the container's last state with its last run.
func (c *container) checkLastState(runs []runEvents, t *counts, fault func(string, ...any)) {
	if c.final == nil {
		return
	}
	if len(runs) == 0 {
		fault("it has no events of a run")
		return
	}
	end, s := runs[len(runs)-1], c.final.State
	if code := end.die.Attributes["exitCode"]; s.Status != "exited" || strconv.Itoa(s.ExitCode) != code ||
		s.OOMKilled != (end.oom > 0) {
		fault("its last state is %+v, its last exit was %s with %d oom", s, code, end.oom)
	}
	if c.waitedCode != nil && *c.waitedCode != s.ExitCode {
		fault("a wait answered %d, the container ended with %d", *c.waitedCode, s.ExitCode)
	}
	if c.kind == "fails" && runs[0].start != nil {
		t.restarts += c.final.RestartCount
		if c.final.RestartCount != retries || len(runs) != retries+1 {
			fault("%d restarts in %d runs", c.final.RestartCount, len(runs))
		}
	}
}

// checkExecs checks that each exec has one start, one end and its own exit code.
func (w *world) checkExecs(c *container, list []events.Event, t *counts, fault func(string, ...any)) {
	reported := w.reports.runsOf(c.name, true)
	for _, x := range c.execs {
		var starts, dies int
		code := ""
		for _, e := range list {
			switch action, _, _ := strings.Cut(e.Action, ":"); {
			case e.Attributes["execID"] != x.id:
			case action == "exec_start":
				starts++
			case action == "exec_die":
				dies++
				code = e.Attributes["exitCode"]
			}
		}
		i := slices.IndexFunc(reported, func(r run) bool { return r.token == x.token })
		switch {
		case starts == 0 && dies == 0 && !x.start.done(): // no event at all
		case !x.start.done() && starts == 1 && dies <= 1: // its container may have ended first
		case starts != 1 || dies != 1 || i < 0 || !reported[i].ended:
			fault("exec %s: %d starts, %d ends", x.token, starts, dies)
		case code != strconv.Itoa(reported[i].code) || x.code != nil && *x.code != reported[i].code:
			fault("exec %s: its event has exit code %s, its report %d", x.token, code, reported[i].code)
		}
		t.execs += starts
	}
}

// createFailed begins the line that runc writes to the container's stderr, which is its own, when it cannot create the
// container: the engine was killed meanwhile, and the next one has taken the mounts away.
var createFailed = []byte("runc create failed: ")

// checkLogs checks each stream of the log: each line of each run that has events is there
// once and in order. Where a start was cut off, createFailed may be there too. checkLogs returns the number of lines.
func (c *container) checkLogs(reported []run, matched map[string]bool, cutOff bool, fault func(string, ...any)) int {
	lines := 0
	for stream, name := range []string{1: "out", 2: "err"} {
		if name == "" {
			continue
		}
		text, err := frames(c.logs, byte(stream))
		if err != nil {
			fault("log of std%s: %v", name, err)
			continue
		}
		count := map[string]int{}
		for line := range bytes.Lines(text) {
			if cutOff && bytes.HasPrefix(line, createFailed) {
				continue
			}
			var token, of string
			var n int
			if _, err := fmt.Sscanf(string(line), "%s %s %d ", &token, &of, &n); err != nil || of != name ||
				n != count[token]+1 {
				fault("log of std%s: after line %d of run %s: %q", name, count[token], token, line)
				break
			}
			count[token] = n
			lines++
		}
		for _, r := range reported {
			n := map[string]int{"out": r.out, "err": r.err}[name]
			if got := count[r.token]; matched[r.token] && (got < n || r.ended && got != n) || got > 0 &&
				!matched[r.token] && r.ended && got > n {
				fault("log of std%s has %d lines of run %s, which wrote %d", name, got, r.token, n)
			}
			delete(count, r.token)
		}
		if len(count) > 0 {
			fault("log of std%s has lines of unknown runs: %v", name, count)
		}
	}
	return lines
}
