package volumes

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// comparison compares the records of volumes with the events about them, and with the mounts of containers. It is a
// store.Comparison.
type comparison struct {
	there  map[string]bool // also those whose record cannot be read
	users  map[string]string
	events map[string]journal.Event // the last one of each volume
}

// NewComparison compares the records of volumes with the events about them, and with the mounts of containers.
func NewComparison() store.Comparison {
	return &comparison{there: map[string]bool{}, users: map[string]string{}, events: map[string]journal.Event{}}
}

// Records implements store.Comparison.
func (c *comparison) Records(s journal.Reader) error {
	return errors.Join(
		Records.ForEachOr(s, func(name string, _ Volume) error {
			c.there[name] = true
			return nil
		}, func(name string, _ []byte, _ error) error {
			c.there[name] = true
			return nil
		}),
		record.All(s, func(r *record.Record) error {
			for _, m := range r.Mounts {
				if m.Type == record.MountVolume {
					c.users[m.Name] = r.ID
				}
			}
			return nil
		}),
	)
}

// Event implements store.Comparison.
func (c *comparison) Event(ev journal.Event) {
	if ev.Type == "volume" && ev.Action != "prune" {
		c.events[ev.ID] = ev
	}
}

// Findings implements store.Comparison.
func (c *comparison) Findings() (found []string) {
	for _, name := range slices.Sorted(maps.Keys(c.events)) {
		if ev := c.events[name]; c.there[name] == (ev.Action == "destroy") {
			found = append(found, fmt.Sprintf("event %d says %q of volume %s; does the volume exist: %t", ev.Seq, ev.Action, name, c.there[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.users)) {
		if !c.there[name] {
			found = append(found, fmt.Sprintf("container %s has the volume %s, which does not exist", c.users[name], name))
		}
	}
	return found
}
