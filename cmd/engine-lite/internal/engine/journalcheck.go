package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/engine-lite/engine-lite/journal"
)

// JournalCheck is CheckJournal of the engine's own.
func (e *Engine) JournalCheck(ctx context.Context) ([]string, error) {
	return CheckJournal(ctx, e.journal)
}

// CheckJournal returns what is wrong with a journal: with its file, and with what the
// records say where the events that are kept say otherwise.
func CheckJournal(ctx context.Context, j Journal) ([]string, error) {
	var found []string
	if err := j.Check(ctx, func(finding string) { found = append(found, finding) }); err != nil || len(found) > 0 {
		return found, err // what can't be read right can't be compared
	}
	c := comparison{report: func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }}
	if err := j.View(c.read); err != nil {
		return nil, err
	}
	if err := c.replay(ctx, j); err != nil {
		return nil, err
	}
	c.compare()
	return found, nil
}

// comparison holds what the records say, and what the events up to there do.
type comparison struct {
	report  func(format string, args ...any)
	newest  uint64
	records map[string]*record
	names   map[string]string // name -> id
	bygones map[string]*bygone
	told    map[string]told
}

// told is what the events tell of a container.
type told struct {
	action     string // the last one that changes where it stands
	seq        uint64
	generation uint64
	exitCode   string // of the last exit
	foreign    bool
}

func (c *comparison) read(s *journal.Snapshot) error {
	c.newest = s.Newest()
	c.records, c.names, c.bygones = map[string]*record{}, map[string]string{}, map[string]*bygone{}
	return errors.Join(
		s.ForEach(kindContainer, func(id string, raw []byte) error {
			r, err := decodeRecord(raw)
			if err != nil || r.ID != id {
				c.report("the record of container %s makes no sense: %v", id, err)
				return nil
			}
			c.records[id] = r
			return nil
		}),
		s.ForEach(kindName, func(name string, id []byte) error {
			c.names[name] = string(id)
			return nil
		}),
		s.ForEach(kindBygone, func(id string, raw []byte) error {
			gone := new(bygone)
			if err := json.Unmarshal(raw, gone); err != nil {
				c.report("the record of removed container %s makes no sense: %v", id, err)
				return nil
			}
			c.bygones[id] = gone
			return nil
		}),
	)
}

// replay reads the events up to the records. Those that are dropped meanwhile say
// nothing that the later ones don't.
func (c *comparison) replay(ctx context.Context, j Journal) error {
	c.told = map[string]told{}
	cursor := j.Cursor(j.Oldest() - 1)
	for cursor.Position() < c.newest {
		ev, err := cursor.Next(ctx)
		var old *journal.TooOldError
		if errors.As(err, &old) {
			cursor = j.Cursor(old.Oldest - 1)
			continue
		}
		if err != nil {
			return err
		}
		if ev.Seq <= c.newest && ev.Type == "container" {
			c.tell(ev)
		}
	}
	return nil
}

func (c *comparison) tell(ev journal.Event) {
	t := c.told[ev.ID]
	switch ev.Action {
	case "die":
		t.exitCode = ev.Attributes["exitCode"]
	case "create", "start", "pause", "unpause", "destroy":
	default:
		return
	}
	t.action, t.seq, t.generation = ev.Action, ev.Seq, ev.Generation
	_, t.foreign = ev.Attributes["bundle"]
	c.told[ev.ID] = t
}

func (c *comparison) compare() {
	for _, id := range slices.Sorted(maps.Keys(c.records)) {
		r := c.records[id]
		if c.names[r.Name] != id {
			c.report("container %s has the name %q, which is written down for %q", id, r.Name, c.names[r.Name])
		}
		c.compareContainer(r)
	}
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		if c.records[c.names[name]] == nil {
			c.report("the name %q is written down for container %s, which isn't there", name, c.names[name])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.told)) {
		t := c.told[id]
		if !t.foreign && c.records[id] == nil && t.action != "destroy" {
			c.report("event %d tells that container %s was last at %q, and it isn't there", t.seq, id, t.action)
		}
		if gone := c.bygones[id]; gone != nil && t.exitCode != "" && strconv.Itoa(gone.ExitCode) != t.exitCode {
			c.report("removed container %s has exit code %d, and its last event die tells %s", id, gone.ExitCode, t.exitCode)
		}
	}
}

// standings are what a container can be after an event.
var standings = map[string][]status{
	"create": {statusCreated}, "start": {statusRunning}, "unpause": {statusRunning}, "pause": {statusPaused},
	"die": {statusExited, statusRestarting}, "destroy": {},
}

func (c *comparison) compareContainer(r *record) {
	t, ok := c.told[r.ID]
	if !ok || r.Status == statusRemoving {
		return
	}
	if !slices.Contains(standings[t.action], r.Status) {
		c.report("container %s is %s, and event %d tells of %q", r.ID, r.Status, t.seq, t.action)
	}
	if t.generation != r.Generation {
		c.report("container %s was started %d times, and event %d tells of start %d", r.ID, r.Generation, t.seq, t.generation)
	}
	if t.action == "die" && t.exitCode != strconv.Itoa(r.shownExitCode()) {
		c.report("container %s has exit code %d, and event %d tells %s", r.ID, r.shownExitCode(), t.seq, t.exitCode)
	}
}
