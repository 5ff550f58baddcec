package record

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// comparison compares the records of containers with the events about them. It is a store.Comparison.
type comparison struct {
	records map[string]*Record
	names   map[string]string // name -> id
	exits   map[string]*RemovedExit
	events  map[string]lastEvent
	found   []string
}

// lastEvent is what the events say about a container.
type lastEvent struct {
	action     string // the last one that changes the container's status
	seq        uint64
	generation uint64
	exitCode   string // of the last exit
	external   bool
}

// NewComparison compares the records of containers with the events about them.
func NewComparison() store.Comparison {
	return &comparison{
		records: map[string]*Record{}, names: map[string]string{}, exits: map[string]*RemovedExit{}, events: map[string]lastEvent{},
	}
}

// Records implements store.Comparison.
func (c *comparison) Records(s journal.Reader) error {
	return errors.Join(
		All(s, func(r *Record) error {
			c.records[r.ID] = r
			return nil
		}),
		Amendments.ForEachOr(s, func(id string, a Amendment) error {
			if r := c.records[id]; r != nil && r.unreadable == nil {
				r.join(a)
			}
			return nil
		}, passOver),
		Names.ForEach(s, func(name, id string) error {
			c.names[name] = id
			return nil
		}),
		RemovedExits.ForEachOr(s, func(id string, x *RemovedExit) error {
			c.exits[id] = x
			return nil
		}, passOver),
	)
}

// passOver leaves out a record that cannot be read.
func passOver(string, []byte, error) error { return nil }

// Findings implements store.Comparison.
func (c *comparison) Findings() []string {
	c.compare()
	return c.found
}

func (c *comparison) report(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// Event implements store.Comparison.
func (c *comparison) Event(ev journal.Event) {
	if ev.Type != "container" {
		return
	}
	t := c.events[ev.ID]
	switch ev.Action {
	case "die":
		t.exitCode = ev.Attributes["exitCode"]
	case "create", "start", "pause", "unpause", "destroy":
	default:
		return
	}
	t.action, t.seq, t.generation = ev.Action, ev.Seq, ev.Generation
	_, t.external = ev.Attributes["bundle"]
	c.events[ev.ID] = t
}

func (c *comparison) compare() {
	for _, id := range slices.Sorted(maps.Keys(c.records)) {
		r := c.records[id]
		if c.names[r.Name] != id {
			c.report("container %s has the name %q, which belongs to %q in the journal", id, r.Name, c.names[r.Name])
		}
		c.compareContainer(r)
	}
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		if c.records[c.names[name]] == nil {
			c.report("the name %q belongs to container %s, which does not exist", name, c.names[name])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.events)) {
		t := c.events[id]
		if !t.external && c.records[id] == nil && t.action != "destroy" {
			c.report("event %d says %[3]q of container %[2]s, which does not exist", t.seq, id, t.action)
		}
		if x := c.exits[id]; x != nil && t.exitCode != "" && strconv.Itoa(x.ExitCode) != t.exitCode {
			c.report("removed container %s has exit code %d, but its last event die says %s", id, x.ExitCode, t.exitCode)
		}
	}
}

// statusAfter are the statuses that a container can have after an event.
var statusAfter = map[string][]Status{
	"create": {StatusCreated}, "start": {StatusRunning}, "unpause": {StatusRunning}, "pause": {StatusPaused},
	"die": {StatusExited, StatusRestarting}, "destroy": {},
}

func (c *comparison) compareContainer(r *Record) {
	t, ok := c.events[r.ID]
	if !ok || r.Status == StatusRemoving || r.unreadable != nil {
		return
	}
	if !slices.Contains(statusAfter[t.action], r.Status) {
		c.report("container %s is %s, but event %d says %q", r.ID, r.Status, t.seq, t.action)
	}
	if t.generation != r.Generation {
		c.report("container %s was started %d times, but event %d is of start %d", r.ID, r.Generation, t.seq, t.generation)
	}
	if t.action == "die" && t.exitCode != strconv.Itoa(r.ShownExitCode()) {
		c.report("container %s has exit code %d, but event %d says %s", r.ID, r.ShownExitCode(), t.seq, t.exitCode)
	}
}
