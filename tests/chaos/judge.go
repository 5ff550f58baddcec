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

// sums are what the table tells.
type sums struct {
	kinds  map[string]*tally
	events int
}

// tally is what has happened to the containers of one kind.
type tally struct {
	lives, runs, ended, sigkilled, oom, restarts int
	// failed counts starts that failed, untold runs whose start no engine could
	// tell of before it was killed, silent runs that ended before their first word.
	failed, untold, silent int
	unknown                int
	execs, lines           int
}

// told is one run of a container in its events.
type told struct {
	start, die *events.Event // start is nil where the start failed
	oom        int
}

// compare compares what happened with what is said of it.
func (w *world) compare(ctx context.Context) error {
	history, err := w.history(ctx)
	if err != nil {
		return err
	}
	w.sums = sums{kinds: map[string]*tally{}, events: len(history)}
	byID := map[string][]events.Event{}
	for _, e := range history {
		if e.Type == "container" {
			byID[e.ID] = append(byID[e.ID], e)
		}
	}
	for _, l := range w.lives {
		t := w.sums.kinds[l.kind]
		if t == nil {
			t = &tally{}
			w.sums.kinds[l.kind] = t
		}
		for _, d := range w.judge(l, byID[l.id], t) {
			w.differ("container %s (%.12s): %s\n  events: %s\n  runs: %+v", l.name, l.id, d, brief(byID[l.id]), w.ledger.of(l.name, false))
		}
		delete(byID, l.id)
	}
	for id, list := range byID {
		w.differ("container %.12s is nobody's: %s", id, brief(list))
	}
	for _, c := range w.consumers {
		c.compare(ctx, w, history)
	}
	w.lookForRest(ctx)
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

// judge returns what is wrong with what is said of one container.
func (w *world) judge(l *life, list []events.Event, t *tally) (faults []string) {
	t.lives++
	runs, err := grammar(list)
	if err != nil {
		return []string{err.Error()}
	}
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	matched := w.match(l, runs, t, fault)
	l.judgeAcked(list, fault)
	l.judgeEnd(runs, t, fault)
	w.judgeExecs(l, list, t, fault)
	if l.last != nil {
		t.lines += l.judgeLogs(w.ledger.of(l.name, false), matched, w.cutStarts(list), fault)
	}
	return faults
}

// grammar checks that the events of a container are a life that there can be, and
// returns its runs: one end to each start, in order, each of its own generation.
func grammar(list []events.Event) ([]told, error) {
	var runs []told
	state, generation := "", uint64(0)
	for i, e := range list {
		wrong := func() error {
			return fmt.Errorf("event %d (%s) comes when the container is %q", e.Seq, e.Action, state)
		}
		live := state == "running" || state == "paused"
		if state == "gone" || (state == "") != (e.Action == "create") {
			return nil, wrong()
		}
		switch e.Action {
		case "create":
			state = "created"
		case "start":
			if live || e.Generation != generation+1 {
				return nil, wrong()
			}
			state, generation = "running", e.Generation
			runs = append(runs, told{start: &list[i]})
		case "oom":
			if !live {
				return nil, wrong()
			}
			runs[len(runs)-1].oom++
		case "pause", "unpause":
			to := map[string]string{"pause": "paused", "unpause": "running"}[e.Action]
			if !live || state == to {
				return nil, wrong()
			}
			state = to
		case "die":
			if !live {
				runs = append(runs, told{})
				generation++
			}
			if e.Generation != generation {
				return nil, wrong()
			}
			runs[len(runs)-1].die, state = &list[i], "ended"
		case "destroy":
			if live {
				return nil, wrong()
			}
			state = "gone"
		}
	}
	if state != "gone" {
		return nil, fmt.Errorf("in the end it is %q", state)
	}
	return runs, nil
}

// match finds for each run that a container had the one that is told of, compares
// them, and returns the tokens of those that are. A process is born before its start
// is told, and told of before the next one is born.
func (w *world) match(l *life, runs []told, t *tally, fault func(string, ...any)) map[string]bool {
	had := w.ledger.of(l.name, false)
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
		var own *run
		for i := range had {
			if had[i].born <= r.start.Time.UnixNano() {
				own = &had[i]
			}
		}
		if own == nil || matched[own.token] {
			t.silent++
			own = &run{}
		}
		matched[own.token] = true
		w.judgeRun(l, r, own, t, fault)
	}
	delete(matched, "")
	untold := len(had) - len(matched)
	t.untold += untold
	if open := l.unanswered() + w.killsDuring(l, runs); untold > open {
		fault("%d runs are not told of, and %d starts had no answer", untold, open)
	}
	return matched
}

// unanswered counts the user's starts of which nobody said that they were done.
func (l *life) unanswered() int {
	n := 0
	for _, a := range l.starts {
		if !a.done() {
			n++
		}
	}
	return n
}

// killsDuring counts the kills of engine and runtimed while a container's policy
// may have been starting it again.
func (w *world) killsDuring(l *life, runs []told) int {
	n := 0
	for i, r := range runs {
		if l.kind != "fails" || i+1 == len(runs) || runs[i+1].start == nil {
			continue
		}
		for _, k := range w.kills {
			if k.at.After(r.die.Time) && k.at.Before(runs[i+1].start.Time) {
				n++
			}
		}
	}
	return n
}

// judgeRun compares one run with what is told of it. own has no token where the
// container was ended before it could say a word.
func (w *world) judgeRun(l *life, r told, own *run, t *tally, fault func(string, ...any)) {
	code := r.die.Attributes["exitCode"]
	if why := r.die.Attributes["exitUnknown"]; why != "" {
		t.unknown++
		fault("run %d: nobody knows the exit code: %s", r.start.Generation, why)
	}
	t.ended++
	const sigkill = "137"
	switch {
	case own.ended && code == strconv.Itoa(own.code) && r.oom == 0:
	case own.eating && code == sigkill && r.oom == 1:
		t.oom++
	case l.killed && code == sigkill && r.oom == 0:
		t.sigkilled++
	case l.stopped && !own.ended && own.out+own.err == 0 && code == unready:
	default:
		fault("run %d: told %s, %d oom; it said %+v", r.start.Generation, code, r.oom, *own)
	}
}

// unready is how Go's runtime ends an init process that gets SIGTERM before it has
// asked for it. That takes a while, in which the process may say its first word.
const unready = "2"

// judgeAcked checks that whatever the engine said was done has its event.
func (l *life) judgeAcked(list []events.Event, fault func(string, ...any)) {
	count := map[string]int{}
	for _, e := range list {
		action, _, _ := strings.Cut(e.Action, ":")
		count[action]++
	}
	for action, n := range l.acked {
		if count[action] < n {
			fault("%d times done: %s; told %d times", n, action, count[action])
		}
	}
	for _, a := range l.starts {
		if a.done() && !slices.ContainsFunc(list, func(e events.Event) bool {
			return e.Action == "start" && !e.Time.Before(a.sent) && !e.Time.After(a.gotten)
		}) {
			fault("a start that was answered at %s is not told of", a.gotten)
		}
	}
}

// judgeEnd compares the last state with the last run.
func (l *life) judgeEnd(runs []told, t *tally, fault func(string, ...any)) {
	if l.last == nil {
		return
	}
	if len(runs) == 0 {
		fault("it was never told of a run")
		return
	}
	end, s := runs[len(runs)-1], l.last.State
	if code := end.die.Attributes["exitCode"]; s.Status != "exited" || strconv.Itoa(s.ExitCode) != code || s.OOMKilled != (end.oom > 0) {
		fault("it is %+v, its last exit was %s with %d oom", s, code, end.oom)
	}
	if l.waited != nil && *l.waited != s.ExitCode {
		fault("a wait said %d, it has ended with %d", *l.waited, s.ExitCode)
	}
	if l.kind == "fails" && runs[0].start != nil {
		t.restarts += l.last.RestartCount
		if l.last.RestartCount != retries || len(runs) != retries+1 {
			fault("%d restarts in %d runs", l.last.RestartCount, len(runs))
		}
	}
}

// judgeExecs checks that each exec has one start and one end, and its own code.
func (w *world) judgeExecs(l *life, list []events.Event, t *tally, fault func(string, ...any)) {
	had := w.ledger.of(l.name, true)
	for _, x := range l.execs {
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
		i := slices.IndexFunc(had, func(r run) bool { return r.token == x.token })
		switch {
		case starts == 0 && dies == 0 && !x.start.done(): // never told
		case !x.start.done() && starts == 1 && dies <= 1: // its container may have ended first
		case starts != 1 || dies != 1 || i < 0 || !had[i].ended:
			fault("exec %s: %d starts, %d ends", x.token, starts, dies)
		case code != strconv.Itoa(had[i].code) || x.code != nil && *x.code != had[i].code:
			fault("exec %s: told %s, said %d", x.token, code, had[i].code)
		}
		t.execs += starts
	}
}

// cutStarts counts the kills of runtimed in a container's life, each of which may have
// cut a start.
func (w *world) cutStarts(list []events.Event) (n int) {
	for _, k := range w.kills {
		if k.victim == "runtimed" && k.at.After(list[0].Time) && k.at.Before(list[len(list)-1].Time) {
			n++
		}
	}
	return n
}

// cutStart begins what runc's init process says, in the container's place, when
// runtimed dies after it has opened the FIFO of its start and before it has written.
const cutStart = "write exec fifo "

// judgeLogs checks that each stream of the log has each line of each run that is
// told of once, and in order; a start that was cut may have left a line of cutStart.
// It returns how many lines there are.
func (l *life) judgeLogs(had []run, matched map[string]bool, cut int, fault func(string, ...any)) int {
	lines := 0
	for stream, name := range []string{1: "out", 2: "err"} {
		if name == "" {
			continue
		}
		text, err := frames(l.logs, byte(stream))
		if err != nil {
			fault("log of std%s: %v", name, err)
			continue
		}
		count := map[string]int{}
		for line := range bytes.Lines(text) {
			if name == "err" && cut > 0 && bytes.HasPrefix(line, []byte(cutStart)) {
				cut--
				continue
			}
			var token, of string
			var n int
			if _, err := fmt.Sscanf(string(line), "%s %s %d ", &token, &of, &n); err != nil || of != name || n != count[token]+1 {
				fault("log of std%s: after line %d of run %s: %q", name, count[token], token, line)
				break
			}
			count[token] = n
			lines++
		}
		for _, r := range had {
			n := map[string]int{"out": r.out, "err": r.err}[name]
			if got := count[r.token]; matched[r.token] && (got < n || r.ended && got != n) || got > 0 && !matched[r.token] && r.ended && got > n {
				fault("log of std%s has %d lines of run %s, which wrote %d", name, got, r.token, n)
			}
			delete(count, r.token)
		}
		if len(count) > 0 {
			fault("log of std%s has lines of others: %v", name, count)
		}
	}
	return lines
}
