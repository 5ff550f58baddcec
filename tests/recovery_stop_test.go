package tests

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// ignoresTerm is a script that prints a line at SIGTERM and runs on.
const ignoresTerm = `trap "echo got TERM" TERM; echo ready; while true; do sleep 1000 & wait; done`

// stopping is a stop that is running when the engine is killed.
type stopping struct {
	path   string // of the request
	script string
	more   map[string]any
	paused bool
	// want are the events after the start, of both engines.
	want string
	code int
	runs bool // whether the container runs afterwards
}

// TestStopOverKill kills the engine while it stops containers. The next engine goes on
// with the stops. It sends no signal twice, and SIGKILL at the deadline of the request.
func TestStopOverKill(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	always := map[string]any{"HostConfig": map[string]any{"NetworkMode": "none",
		"RestartPolicy": map[string]any{"Name": "always"}}}
	cases := map[string]*stopping{
		"stop":   {path: "stop?t=6", script: ignoresTerm, want: "kill:15 die:137 stop", code: 137},
		"always": {path: "stop?t=6", script: ignoresTerm, more: always, want: "kill:15 die:137 stop", code: 137},
		"for ever": {path: "stop?t=-1",
			script: strings.ReplaceAll(ignoresTerm, "echo got TERM", "sleep 7; exit 3"), want: "kill:15 die:3 stop",
			code: 3},
		"paused":  {path: "stop?t=6", script: ignoresTerm, paused: true, want: "kill:15 die:137 stop", code: 137},
		"restart": {path: "restart?t=6", script: ignoresTerm, want: "kill:15 die:137 stop start restart", runs: true},
		"restart always": {path: "restart?t=6", script: ignoresTerm, more: always,
			want: "kill:15 die:137 stop start restart", runs: true},
	}
	members := map[string]*testContainer{}
	for name, c := range cases {
		m := r.runScript(t, c.script, c.more)
		members[name] = m
		await(t, name+" is ready", func() bool { return strings.Contains(r.output(t, m.id), "ready\n") })
		if c.paused {
			r.do(t, http.MethodPost, "/containers/"+m.id+"/pause", nil, nil)
		}
	}
	begin := time.Now()
	answers := make(chan reply, len(cases))
	for name, c := range cases {
		go func() { answers <- r.call(http.MethodPost, "/containers/"+members[name].id+"/"+c.path, "") }()
	}
	await(t, "each signal has its event", func() bool { return r.count(t, "kill") == len(cases) })
	r.kill(t, r.enginePid())
	for range cases {
		if a := <-answers; a.err == nil {
			t.Errorf("a stop was answered: %+v", a)
		}
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		m := members[name]
		r.awaitEventsAfterStart(t, name, m.id, c.want)
		s := r.state(t, m.id).State
		if s.Running != c.runs || !c.runs && s.ExitCode != c.code {
			t.Errorf("%s: %+v", name, s)
		}
		if n := strings.Count(strings.Join(r.actionsOf(t, m.id), " "), "kill:9"); n != strings.Count(c.want,
			"die:137") {
			t.Errorf("%s: %d events of SIGKILL", name, n)
		}
		if died := r.diedAt(t, m.id); died.Sub(begin) < 5*time.Second {
			t.Errorf("%s: died %s after the stop, before its deadline", name, died.Sub(begin))
		}
		if out := r.output(t, m.id); c.want[:7] == "kill:15" && c.code == 137 && strings.Count(out, "got TERM\n") != 1 {
			t.Errorf("%s: SIGTERM came %d times", name, strings.Count(out, "got TERM\n"))
		}
	}
	r.policyHolds(t, members["restart always"])
	stays := r.state(t, members["always"].id)
	if stays.State.Running || stays.RestartCount != 0 {
		t.Errorf("a container that a user has stopped runs again: %+v", stays)
	}
}

// policyHolds checks that a container whose restart was finished by the next engine still
// has its restart policy.
func (r *rig) policyHolds(t *testing.T, m *testContainer) {
	t.Helper()
	pid := r.state(t, m.id).State.Pid
	r.kill(t, pid)
	await(t, "the policy starts it again", func() bool {
		s := r.state(t, m.id).State
		return s.Running && s.Pid != 0 && s.Pid != pid
	})
}

// awaitEventsAfterStart waits for the events after a container's first start.
func (r *rig) awaitEventsAfterStart(t *testing.T, name, id, want string) {
	t.Helper()
	var got string
	if !holds(func() bool {
		// Some events are left out, since they may come later than the ones that follow from them:
		// a thaw by a stop, and a SIGKILL.
		got = strings.Join(slices.DeleteFunc(r.actionsOf(t, id), func(a string) bool {
			return a == "pause" || a == "unpause" || a == "kill:9"
		}), " ")
		return got == "create start "+want
	}) {
		t.Errorf("%s: events %q, want create start %q", name, got, want)
	}
}

// actionsOf returns the actions of a container's events, with signal or exit code.
func (r *rig) actionsOf(t *testing.T, id string) []string {
	t.Helper()
	var list []string
	for _, e := range r.history(t) {
		if e.ID != id {
			continue
		}
		action := e.Action
		for _, attribute := range []string{"signal", "exitCode"} {
			if v, ok := e.Attributes[attribute]; ok {
				action += ":" + v
			}
		}
		list = append(list, action)
	}
	return list
}

// count counts the events with an action.
func (r *rig) count(t *testing.T, action string) int {
	t.Helper()
	n := 0
	for _, e := range r.history(t) {
		if e.Action == action {
			n++
		}
	}
	return n
}

func (r *rig) diedAt(t *testing.T, id string) time.Time {
	t.Helper()
	for _, e := range r.history(t) {
		if e.ID == id && e.Action == "die" {
			return e.Time
		}
	}
	t.Fatalf("container %s has no die", id)
	panic("unreachable")
}

// output returns the log of a container.
func (r *rig) output(t *testing.T, id string) string {
	t.Helper()
	return oneDocker(t, r).ok(t, "logs", id) + "\n"
}

// TestStopBetweenRuns stops containers that wait for their next start by policy, and kills
// the engine as soon as the first stop is answered.
func TestStopBetweenRuns(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	always := map[string]any{"HostConfig": map[string]any{"NetworkMode": "none",
		"RestartPolicy": map[string]any{"Name": "always"}}}
	var members []*testContainer
	for range 4 {
		members = append(members, r.runScript(t, "exit 3", always))
	}
	await(t, "each waits for its fourth restart", func() bool {
		return !slices.ContainsFunc(members, func(m *testContainer) bool {
			c := r.state(t, m.id)
			return c.RestartCount < 4
		})
	})
	answers := make(chan reply, len(members))
	for _, m := range members {
		go func() { answers <- r.call(http.MethodPost, "/containers/"+m.id+"/stop", "") }()
	}
	first := <-answers
	r.kill(t, r.enginePid())
	for range members[1:] {
		<-answers
	}
	if first.status != http.StatusNoContent && first.err == nil {
		t.Errorf("stop: %+v", first)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	for _, m := range members { // a stop without an answer is repeated
		a := r.call(http.MethodPost, "/containers/"+m.id+"/stop", "")
		if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
			t.Errorf("stop: %+v", a)
		}
		if c := r.state(t, m.id); c.State.Status != "exited" {
			t.Errorf("%+v", c)
		}
		events := strings.Join(r.actionsOf(t, m.id), " ")
		if !strings.HasSuffix(events, " stop") || strings.Count(events, "start") != strings.Count(events, "die") {
			t.Errorf("events %q", fmt.Sprint(events))
		}
	}
}
