package tests

import (
	"slices"
	"strings"
	"testing"
)

// ociOperations are the operations of the command line, and the states in which each is
// legal, with the next state: "state > next", of absent, created, running, paused and
// stopped. An operation that is not legal fails and changes nothing. The OCI runtime
// specification ("Operations") demands that of create, start, kill, delete and state.
var ociOperations = []struct {
	args  []string // before the id
	after []string // after the id
	legal map[string]string
}{
	{[]string{"create", "--bundle", "BUNDLE"}, nil, map[string]string{"absent": "created"}},
	{[]string{"run", "--detach", "--bundle", "BUNDLE"}, nil, map[string]string{"absent": "running"}},
	{[]string{"start"}, nil, map[string]string{"created": "running"}},
	{[]string{"state"}, nil, map[string]string{"created": "created", "running": "running", "paused": "paused",
		"stopped": "stopped"}},
	{[]string{"kill"}, []string{"0"},
		map[string]string{"created": "created", "running": "running", "paused": "paused"}},
	{[]string{"delete"}, nil, map[string]string{"stopped": "absent"}},
	{[]string{"delete", "--force"}, nil,
		map[string]string{"absent": "absent", "created": "absent", "running": "absent", "paused": "absent",
			"stopped": "absent"}},
	{[]string{"pause"}, nil, map[string]string{"running": "paused"}},
	{[]string{"resume"}, nil, map[string]string{"paused": "running"}},
	{[]string{"ps"}, nil, map[string]string{"created": "created", "running": "running", "paused": "paused"}},
	{[]string{"exec"}, []string{"/bin/sh", "-c", "exit 0"},
		map[string]string{"created": "created", "running": "running"}},
}

type ociSetup struct {
	state  string
	steps  []string
	events []string
}

// ociSetups are the commands that bring a container into each state, and its events.
var ociSetups = []ociSetup{
	{"absent", nil, []string{}},
	{"created", []string{"create"}, []string{"create"}},
	{"running", []string{"create", "start"}, []string{"create", "start"}},
	{"paused", []string{"create", "start", "pause"}, []string{"create", "start", "pause"}},
	{"stopped", []string{"create", "start", "kill"}, []string{"create", "start", "die 137"}},
}

// TestOCIStates tries every operation in every state.
func TestOCIStates(t *testing.T) {
	r := sharedRig(t)
	for _, rt := range ociRuntimes {
		t.Run(rt.name, func(t *testing.T) {
			o := newOCI(t, r, rt.name, rt.wrap)
			for _, way := range ociSetups {
				id := ""
				for _, op := range ociOperations {
					if id == "" {
						id = o.inState(t, way.steps, way.state)
					}
					before := o.run(t, "state", id).stdout
					args := slices.Concat(op.args, []string{id}, op.after)
					if at := slices.Index(args, "BUNDLE"); at >= 0 {
						args[at] = o.bundle(t, "exec sleep 1000")
					}
					got := o.run(t, args...)
					next, legal := op.legal[way.state]
					switch {
					case legal != (got.code == 0):
						t.Errorf("%s of a container that is %s: %+v", strings.Join(op.args, " "), way.state, got)
					case !legal && got.stderr == "":
						t.Errorf("%s of a container that is %s: no reason", strings.Join(op.args, " "), way.state)
					case !legal || next == way.state:
						if after := o.run(t, "state", id).stdout; after != before {
							t.Errorf("%s of a container that is %s changed it: %s\nbefore: %s",
								strings.Join(op.args, " "), way.state, after, before)
						}
						continue
					case o.statusOrAbsent(t, id) != next:
						t.Errorf("%s of a container that is %s: it is %s", strings.Join(op.args, " "), way.state,
							o.statusOrAbsent(t, id))
					}
					o.ok(t, "delete", "--force", id)
					o.legalEvents(t, id)
					id = ""
				}
				if id != "" {
					r.awaitEvents(t, id, way.events...)
					o.ok(t, "delete", "--force", id)
					o.legalEvents(t, id)
				}
			}
			o.clean(t)
		})
	}
}

// inState makes a new container in a state.
func (o ociTool) inState(t *testing.T, steps []string, state string) string {
	t.Helper()
	id := ociID()
	for _, step := range steps {
		switch step {
		case "create":
			o.ok(t, "create", "--bundle", o.bundle(t, "exec sleep 1000"), id)
		case "kill":
			o.ok(t, "kill", id, "KILL")
		default:
			o.ok(t, step, id)
		}
	}
	await(t, "container is "+state, func() bool { return o.statusOrAbsent(t, id) == state })
	return id
}

func (o ociTool) statusOrAbsent(t *testing.T, id string) string {
	t.Helper()
	if s := o.state(t, id); s.Status != "" {
		return s.Status
	}
	return "absent"
}

// legalEvents waits until a deleted container has all of its events, and checks their
// order: create, start, any pauses, one exit, destroy. Without a start there is no exit.
func (o ociTool) legalEvents(t *testing.T, id string) []string {
	t.Helper()
	var got []string
	if !holds(func() bool {
		got = o.eventsOf(t, id)
		return len(got) == 0 || got[len(got)-1] == "destroy"
	}) {
		t.Errorf("events: %q", got)
		return got
	}
	order := map[string]int{"create": 1, "start": 2, "pause": 3, "unpause": 4, "die": 5, "destroy": 6}
	last, seen := 0, map[string]int{}
	for _, event := range got {
		action, _, _ := strings.Cut(event, " ")
		seen[action]++
		if order[action] <= last || strings.Contains(event, "attributes") {
			t.Errorf("events: %q", got)
		}
		last = order[action]
	}
	if len(got) > 0 && (seen["create"] != 1 || seen["start"] != seen["die"] || seen["unpause"] > seen["pause"]) {
		t.Errorf("events: %q", got)
	}
	return got
}
