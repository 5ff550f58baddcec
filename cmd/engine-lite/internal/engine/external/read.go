package external

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/ocilog"
	"github.com/engine-lite/engine-lite/journal"
)

// read appends the events of a log from the place up to which the journal has it. It
// returns false where a part has to wait.
func (f *watcher) read(ctx context.Context, name string) (bool, error) {
	path := filepath.Join(f.dir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // it has its other name by now
	}
	if err != nil {
		return false, err
	}
	who, ok := containerOf(data)
	run := who.Run
	c := f.byRun[run]
	switch {
	case !ok:
		return true, nil // its creation is about to begin
	case f.unread[run]:
		return true, nil
	case f.held[who.ID]:
		return false, nil
	case c == nil:
		c = &container{}
	case c.record.Offset > int64(len(data)):
		return false, fmt.Errorf("the log is shorter than before: %w", errdefs.ErrDataLoss)
	}
	c.name = name
	idle := func() bool { return ocilog.Idle(path, int64(len(data))) }
	whole, err := f.appendEvents(ctx, run, c, data[c.record.Offset:], idle)
	f.held[who.ID] = !whole
	if err != nil || !whole || !c.record.State.Destroyed {
		return whole, err
	}
	return f.drop(ctx, run, c)
}

// containerOf finds the container that a log is of.
func containerOf(data []byte) (ocilog.Container, bool) {
	for _, l := range ocilog.Parse(data) {
		if l.Container != nil {
			return *l.Container, true
		}
	}
	return ocilog.Container{}, false
}

// appendEvents commits the events of lines together with the place behind them. A destroy
// waits for the exit. A container that was not created has no events.
func (f *watcher) appendEvents(ctx context.Context, run string, c *container, data []byte, idle func() bool) (whole bool, err error) {
	t, exit := step{record: c.record}, c.exit // an exit that is seen from here on may be younger than data
	whole = true
	for _, l := range ocilog.Parse(data) {
		if l.Action == ocilog.Destroy && l.Step == ocilog.Done && t.awaitsExit() {
			if exit == nil {
				whole = false
				break
			}
			t.die(*exit)
		}
		t.add(l)
		t.record.Offset = c.record.Offset + l.End
	}
	if !t.record.State.Created {
		return true, nil
	}
	f.byRun[run] = c
	if !t.record.Ended && !t.record.State.Destroyed { // before subscribers learn of the container: they may end it
		if err := f.watch(ctx, run, c, t.record.State.Process); err != nil {
			return false, err
		}
	}
	if exit != nil && !t.end(*exit, idle) {
		whole = false
	}
	if t.record.Offset != c.record.Offset || t.record.Ended != c.record.Ended {
		if err := f.commit(ctx, run, t); err != nil {
			return false, err
		}
	}
	c.record = t.record
	return whole && (c.exit == nil || t.record.Ended), nil
}

func (f *watcher) commit(ctx context.Context, run string, t step) error {
	return f.store.Update(ctx, func(tx *store.Tx) error {
		for _, ev := range t.events {
			tx.Append(ev)
		}
		return Records.Put(tx, run, t.record)
	})
}

// step is the events and the record of one transaction.
type step struct {
	record Record
	events []journal.Event
}

// awaitsExit tells whether there is to be a die event before the next one.
func (t *step) awaitsExit() bool { return t.record.State.Started && !t.record.Ended }

// add adds the events of a line.
func (t *step) add(l ocilog.Line) {
	s := &t.record.State
	before := *s
	s.Add(l)
	if l.Step != ocilog.Done {
		return
	}
	switch l.Action {
	case ocilog.Create:
		if !before.Created {
			t.event("create", l.Time, l.Recovered, nil)
		}
	case ocilog.Start:
		t.start(l.Time, l.Recovered)
	case ocilog.Exit:
		if t.awaitsExit() {
			t.die(exit{time: l.Time, status: *l.Status, recovered: l.Recovered})
		}
	default: // pause, unpause, destroy
		t.event(l.Action, l.Time, l.Recovered, nil)
	}
}

func (t *step) start(at time.Time, recovered bool) {
	if !t.record.StartedAt.IsZero() {
		return
	}
	t.record.State.Started, t.record.StartedAt = true, at
	t.event("start", at, recovered, nil)
}

// end adds an exit that was seen. One between the beginning of a start and its
// end waits for that, unless nobody is left to write it. A process that was never
// started has no exit that counts. It returns false where the exit has to wait.
func (t *step) end(x exit, idle func() bool) bool {
	s := &t.record.State
	switch {
	case t.record.Ended:
	case s.Started:
		t.die(x)
	case s.Pending != ocilog.Start:
		t.record.Ended = true
	case !idle():
		return false
	default:
		t.start(x.time, true)
		t.die(x)
	}
	return true
}

func (t *step) die(x exit) {
	r := t.shown()
	code := 0
	if x.unknown == "" {
		code = exitCode(x.status)
	}
	r.SetExited(code, x.unknown, false, x.time)
	t.record.Ended = true
	t.event("die", x.time, x.recovered, r.DieAttributes())
}

// event adds an event with the attributes that every container's have. A time
// that the journal can't keep is now.
func (t *step) event(action string, at time.Time, recovered bool, attributes map[string]string) {
	r := t.shown()
	ev := containers.Event(r, containers.Change{Action: action, Recovered: recovered, Attributes: func(*record.Record) map[string]string {
		all := map[string]string{"bundle": t.record.State.Container.Bundle, "runtime": t.record.State.Container.Runtime}
		for key, value := range attributes {
			all[key] = value
		}
		return all
	}})
	if at.Year() > 1970 && at.Year() < 2200 {
		ev.Time = at.UTC()
	}
	t.events = append(t.events, ev)
}

// shown is the container in the form of the engine's own: its annotations are its
// labels, and its id is its name.
func (t *step) shown() *record.Record {
	c := &t.record.State.Container
	return &record.Record{
		ID: c.ID, Name: c.ID, Config: &record.Config{Labels: c.Annotations},
		Generation: 1, StartedAt: t.record.StartedAt,
	}
}
